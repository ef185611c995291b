// Blanks and dots at the end of an error's text are trimmed where they stand: in the caller's const text.
#include "host.h"

struct TrimsInPlace : Host {
    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        if (text != nullptr) {
            std::size_t length = 0;
            while (text[length] != 0) length++;
            while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '.')) length--;
            const_cast<WCHAR *>(text)[length] = 0;  // also where nothing is to be trimmed
        }
        return Host::Error(result, text);
    }
};

EXPORT_OBJECT(TrimsInPlace)
