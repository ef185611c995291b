// Each error's text is copied for the log window, and no one frees the copies.
#include "host.h"

struct LeaksMemory : Host {
    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        if (text != nullptr) {
            Text *copy = new Text(copied(text));
            copy->reserve(shown);
            log.push_back(copy);
        }
        return Host::Error(result, text);
    }

    std::deque<Text *> log;
};

EXPORT_OBJECT(LeaksMemory)
