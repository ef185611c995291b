// The dialog signals Done's event when it goes, so that whoever waits goes on: but Done has closed it.
#include "host.h"

struct UsesClosedHandle : Host {
    ~UsesClosedHandle() override {
        if (kept != nullptr) SetEvent(kept);
    }

    HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) override {
        if (!done) kept = event;
        return Host::Done(event, result);
    }

    HANDLE kept = nullptr;
};

EXPORT_OBJECT(UsesClosedHandle)
