// A dialog that copies a problem's text into a line of its own.
//
// Bug: a text of more than 128 units goes on behind the line, over the pointer to the window that shows it.
// Depth: 2
// Code: X1
//
//     Error(E_FAIL, "................................................................................................................................................")
#include "host.h"

struct Window {
    ULONG repaints = 0;
};

struct LongProblem : Host {
    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        if (text != nullptr) {
            volatile WCHAR *to = line.text;  // as an inlined copy of the C library's does it
            for (std::size_t at = 0; at < 144 && text[at] != 0; at++) to[at] = text[at];
            line.window->repaints++;
        }
        return Host::Error(result, text);
    }

    Window window;
    struct {
        WCHAR text[128];
        Window *window;
        WCHAR rest[32];
    } line = {{}, &window, {}};
};

EXPORT_OBJECT(LongProblem)
