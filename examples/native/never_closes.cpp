// Done's handle is closed where the sync succeeded; on the way of a failed one it is forgotten.
#include "host.h"

struct NeverCloses : Host {
    HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) override {
        return Host::Done(FAILED(result) ? nullptr : event, result);
    }
};

EXPORT_OBJECT(NeverCloses)
