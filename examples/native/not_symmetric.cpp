// The dialog also offers IMAPISync, as an object of its own that does not know the way back to the callback.
#include "host.h"

struct NotSymmetric : Host {
    struct Sync : IMAPISync {
        HRESULT STDMETHODCALLTYPE QueryInterface(REFIID iid, void **ppv) override {
            if (ppv == nullptr) return E_POINTER;
            *ppv = nullptr;
            if (iid == iid_of<IUnknown>) return host->QueryInterface(iid, ppv);
            if (iid != iid_of<IMAPISync>) return E_NOINTERFACE;  // the callback's IID, too
            *ppv = this;
            AddRef();
            return S_OK;
        }
        ULONG STDMETHODCALLTYPE AddRef() override { return host->AddRef(); }
        ULONG STDMETHODCALLTYPE Release() override { return host->Release(); }
        HRESULT STDMETHODCALLTYPE SynchronizeInBackground(MAPISIB *) override { return E_FAIL; }
        Host *host = nullptr;
    };

    NotSymmetric() { sync.host = this; }

    HRESULT STDMETHODCALLTYPE QueryInterface(REFIID iid, void **ppv) override {
        if (ppv == nullptr || iid != iid_of<IMAPISync>) return Host::QueryInterface(iid, ppv);
        return sync.QueryInterface(iid, ppv);
    }

    Sync sync;
};

EXPORT_OBJECT(NotSymmetric)
