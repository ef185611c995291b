// A dialog that shows how many units of text there were for each failure, and counts failures in a byte.
//
// Bug: after 256 failures the byte is 0, and is divided by.
// Depth: 5
// Code: X1
//
//     256 x Error(E_FAIL, "")
#include "host.h"

struct ErrorByte : Host {
    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        if (FAILED(result)) {
            units += text != nullptr ? copied(text).size() : 0;
            failures++;
            mean = static_cast<ULONG>(units / failures);
        }
        return Host::Error(result, text);
    }

    std::size_t units = 0;
    unsigned char failures = 0;
    ULONG mean = 0;
};

EXPORT_OBJECT(ErrorByte)
