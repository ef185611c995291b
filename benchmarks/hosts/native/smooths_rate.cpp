// A dialog that tells how many reports a long step will still take, from the last three of them.
//
// Bug: it tells a step that stands still by its last two reports being equal.  One that went up and came back has
// advanced by nothing, too.
// Depth: 3
// Code: X1
//
//     Progress(NULL, 0, 1000)
//     Progress(NULL, 1, 1000)
//     Progress(NULL, 0, 1000)
#include "host.h"

struct SmoothsRate : Host {
    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        if (text != nullptr || maximum != of) {
            of = maximum;
            reports = 0;
        }
        first = second, second = third, third = index;
        reports++;
        if (maximum >= 1000 && reports >= 3 && index <= maximum && second != third)
            left = std::int64_t{maximum - third} * 2 / (std::int64_t{third} - first);
        return Host::Progress(text, index, maximum);
    }

    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        reports = 0;
        return Host::Error(result, text);
    }

    ULONG of = 0, reports = 0, first = 0, second = 0, third = 0;
    std::int64_t left = 0;
};

EXPORT_OBJECT(SmoothsRate)
