// Dialogs live in a pool.  One that was released has no window any more, and a late Progress goes looking for it.
#include "pool.h"

struct Window {
    ULONG percent = 0;
};

struct LateCallCrashes : Pooled<LateCallCrashes> {
    void open() { window = new Window; }
    void shut() {
        delete window;
        window = nullptr;
    }
    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        static_cast<volatile Window *>(window)->percent = share(index, maximum);
        return Host::Progress(text, index, maximum);
    }

    Window *window = nullptr;
};

EXPORT_POOLED(LateCallCrashes)
