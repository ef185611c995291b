// An unknown IID is refused, and *ppv left as it was: a caller that looks at it uses a stray pointer.
#include "host.h"

struct DanglingPpv : Host {
    HRESULT STDMETHODCALLTYPE QueryInterface(REFIID iid, void **ppv) override {
        if (ppv == nullptr) return E_POINTER;
        if (iid != iid_of<IMAPISyncProgressCallback> && iid != iid_of<IUnknown>) return E_NOINTERFACE;
        return Host::QueryInterface(iid, ppv);
    }
};

EXPORT_OBJECT(DanglingPpv)
