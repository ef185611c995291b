// IUnknown is answered with a tear-off, a small object made for each question: no two of them are the same pointer.
#include "host.h"

struct TwoIdentities : Host {
    struct TearOff : ComObject<IUnknown> {
        explicit TearOff(Host *whole) : host(whole) { host->AddRef(); }
        ~TearOff() override { host->Release(); }
        HRESULT STDMETHODCALLTYPE QueryInterface(REFIID iid, void **ppv) override {
            return host->QueryInterface(iid, ppv);
        }
        Host *host;
    };

    HRESULT STDMETHODCALLTYPE QueryInterface(REFIID iid, void **ppv) override {
        if (ppv == nullptr || iid != iid_of<IUnknown>) return Host::QueryInterface(iid, ppv);
        *ppv = new TearOff(this);
        return S_OK;
    }
};

EXPORT_OBJECT(TwoIdentities)
