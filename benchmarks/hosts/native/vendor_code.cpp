// A list of problems that knows the code of one vendor's quota.
//
// Bug: its text is taken to be there.
// Depth: 3
// Code: X1
//
//     Error(0x8004E1A7, NULL)
#include "host.h"

struct VendorCode : Host {
    static constexpr HRESULT quota = static_cast<HRESULT>(0x8004e1a7u);

    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        if (result == quota) full = text[0] == u'1';
        return Host::Error(result, text);
    }

    bool full = false;
};

EXPORT_OBJECT(VendorCode)
