// The text is not copied: its pointer is kept, and the dialog's next repaint shows what it then points to.
#include "host.h"

struct KeepsPointer : Host {
    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        repaint();
        if (text != nullptr) current = text;
        return Host::Progress(nullptr, index, maximum);
    }

    void repaint() {
        if (current != nullptr) step = copied(current);  // the caller's call has returned long ago
    }

    const WCHAR *current = nullptr;
};

EXPORT_OBJECT(KeepsPointer)
