// QueryInterface writes to *ppv before it has looked whether there is one.
#include "host.h"

struct NullPpv : Host {
    HRESULT STDMETHODCALLTYPE QueryInterface(REFIID iid, void **ppv) override {
        *static_cast<void *volatile *>(ppv) = nullptr;
        return Host::QueryInterface(iid, ppv);
    }
};

EXPORT_OBJECT(NullPpv)
