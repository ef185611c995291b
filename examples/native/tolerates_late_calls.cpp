// Correct, and more than that: dialogs live in a pool, and one that was released answers late calls with a failure.
#include "pool.h"

struct ToleratesLateCalls : Pooled<ToleratesLateCalls> {
    void open() {}
    void shut() {}
    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        return references == 0 ? CO_E_OBJNOTCONNECTED : Host::Progress(text, index, maximum);
    }
    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        return references == 0 ? CO_E_OBJNOTCONNECTED : Host::Error(result, text);
    }
    HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) override {
        return references == 0 ? CO_E_OBJNOTCONNECTED : Host::Done(event, result);
    }
};

EXPORT_POOLED(ToleratesLateCalls)
