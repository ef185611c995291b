// An error opens the details window, which holds a reference on the dialog; it is given back when the sync has
// failed and the window is closed with it, and forgotten where the sync ends well in spite of the error.
#include "host.h"

struct LeaksReference : Host {
    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        if (!details) AddRef();
        details = true;
        return Host::Error(result, text);
    }

    HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) override {
        const HRESULT answer = Host::Done(event, result);
        if (details && FAILED(result)) {
            details = false;
            Release();
        }
        return answer;
    }

    bool details = false;
};

EXPORT_OBJECT(LeaksReference)
