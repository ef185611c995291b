// Two mistakes with memory in one host: an error's text is copied without room for its NUL, and a step without a
// known length frees the bar that is drawn with it.
#include "host.h"

struct TwoHeapBugs : Host {
    ~TwoHeapBugs() override {
        delete[] last;
        delete bar;
    }

    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        if (maximum == 0) delete bar;
        *bar = share(index, maximum);
        if (maximum == 0) bar = new ULONG(0);
        return Host::Progress(text, index, maximum);
    }

    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        if (text != nullptr) {
            const Text copy = copied(text);
            delete[] last;
            last = new WCHAR[copy.size()];
            std::memcpy(last, copy.c_str(), (copy.size() + 1) * sizeof(WCHAR));
        }
        return Host::Error(result, text);
    }

    WCHAR *last = nullptr;
    ULONG *bar = new ULONG(0);
};

EXPORT_OBJECT(TwoHeapBugs)
