// A bar that shows a share of any maximum.
//
// Bug: a maximum of 0, "not known yet", is divided by.
// Depth: 1
// Code: X1
//
//     Progress(NULL, 0, 0)
#include "host.h"

struct DividesByMax : Host {
    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        Host::Progress(text, index, maximum);
        shown_percent = static_cast<ULONG>(std::uint64_t{index < maximum ? index : maximum} * 100 / maximum);
        return S_OK;
    }

    ULONG shown_percent = 0;
};

EXPORT_OBJECT(DividesByMax)
