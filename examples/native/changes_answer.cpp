// After Done the dialog denies the interface that it spoke before: "the sync is over".
#include "host.h"

struct ChangesAnswer : Host {
    HRESULT STDMETHODCALLTYPE QueryInterface(REFIID iid, void **ppv) override {
        if (ppv != nullptr && done && iid == iid_of<IMAPISyncProgressCallback>) {
            *ppv = nullptr;
            return E_NOINTERFACE;
        }
        return Host::QueryInterface(iid, ppv);
    }
};

EXPORT_OBJECT(ChangesAnswer)
