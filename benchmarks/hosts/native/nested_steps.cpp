// A dialog that indents a step which begins before the one around it has ended.
//
// Bug: there are indents for eight steps, one within the other.
// Depth: 4
// Code: X1
//
//     9 x Progress("step {n}", 0, 1)
#include "host.h"

static const char *const indents[] = {"", " ", "  ", "   ", "    ", "     ", "      ", "       ", nullptr};

struct NestedSteps : Host {
    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        Host::Progress(text, index, maximum);
        if (index == 0 && maximum > 0 && text != nullptr && text[0] != 0) {
            if (depth > 0 && last == step) return S_OK;
            last = step;
            indent = static_cast<ULONG>(std::strlen(indents[depth++]));
        } else if (index >= maximum && depth > 0) {
            depth--;
        }
        return S_OK;
    }

    HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) override {
        depth = 0;
        return Host::Done(event, result);
    }

    Text last;
    ULONG depth = 0, indent = 0;
};

EXPORT_OBJECT(NestedSteps)
