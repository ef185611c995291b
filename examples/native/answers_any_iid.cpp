// QueryInterface does not look at the IID: whoever asks for what gets the callback.
#include "host.h"

struct AnswersAnyIid : Host {
    HRESULT STDMETHODCALLTYPE QueryInterface(REFIID, void **ppv) override {
        if (ppv == nullptr) return E_POINTER;
        *ppv = this;
        AddRef();
        return S_OK;
    }
};

EXPORT_OBJECT(AnswersAnyIid)
