// Done releases the dialog, "since the sync is over": but that reference is the provider's, who releases it, too.
#include "host.h"

struct ReleasesTooOften : Host {
    HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) override {
        const bool first = !done;
        const HRESULT answer = Host::Done(event, result);
        if (first) Release();
        return answer;
    }
};

EXPORT_OBJECT(ReleasesTooOften)
