// The copy of an error's text has room for its units, and none for the NUL that is written behind them.
#include "host.h"

struct OverflowsByOne : Host {
    ~OverflowsByOne() override { delete[] last; }

    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        if (text != nullptr) {
            const std::lock_guard<std::mutex> hold(lock);
            std::size_t length = 0;
            while (text[length] != 0) length++;
            delete[] last;
            last = new WCHAR[length];
            std::memcpy(last, text, length * sizeof(WCHAR));
            last[length] = 0;  // the heap's, not ours
        }
        return Host::Error(result, text);
    }

    WCHAR *last = nullptr;
};

EXPORT_OBJECT(OverflowsByOne)
