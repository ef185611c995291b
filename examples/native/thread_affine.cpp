// The dialog finds its window through a variable of the thread, which only the thread has that called first.
#include "host.h"

struct Window {
    ULONG percent = 0;
};

static thread_local Window *current = nullptr;

struct ThreadAffine : Host {
    ~ThreadAffine() override { current = nullptr; }

    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        if (!opened) current = &window;
        opened = true;
        static_cast<volatile Window *>(current)->percent = share(index, maximum);  // NULL on any other thread
        return Host::Progress(text, index, maximum);
    }

    Window window;
    bool opened = false;
};

EXPORT_OBJECT(ThreadAffine)
