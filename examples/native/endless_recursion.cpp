// An error's text is wrapped to lines of 80 units at a blank, the rest by the same function again: where a line has
// no blank, the rest is the whole.
#include "host.h"

struct EndlessRecursion : Host {
    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        if (text != nullptr) lines = wrapped(copied(text));
        return Host::Error(result, text);
    }

    static std::size_t wrapped(const Text &text) {
        if (text.size() <= 80) return 1;
        std::size_t at = 80;
        while (at > 0 && text[at] != ' ') at--;
        const Text rest = text.substr(at > 0 ? at + 1 : 0);
        return 1 + wrapped(rest);
    }

    std::size_t lines = 0;
};

EXPORT_OBJECT(EndlessRecursion)
