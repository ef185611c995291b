// The status line has room for 40 units, and a text is taken to fill it: 40 units are copied from any text.
#include "host.h"

struct FixedCopy : Host {
    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        if (text != nullptr) std::memcpy(line, text, sizeof line);  // reads past the end of a shorter text
        line[39] = 0;
        return Host::Progress(text != nullptr ? line : nullptr, index, maximum);
    }

    WCHAR line[40] = {};
};

EXPORT_OBJECT(FixedCopy)
