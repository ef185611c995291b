// Done closes its handle and keeps its value, and the dialog, when it goes, closes it again: by then it may be
// anybody's.
#include "host.h"

struct ClosesTwice : Host {
    ~ClosesTwice() override {
        if (kept != nullptr) CloseHandle(kept);
    }

    HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) override {
        if (!done) kept = event;
        return Host::Done(event, result);
    }

    HANDLE kept = nullptr;
};

EXPORT_OBJECT(ClosesTwice)
