// A provider in C++ that records in one line.
#include "synctape_record.h"

#include <cstdint>
#include <thread>

struct IMAPISyncProgressCallback {
    virtual std::int32_t QueryInterface(const void *riid, void **ppv) = 0;
    virtual std::uint32_t AddRef() = 0;
    virtual std::uint32_t Release() = 0;
    virtual std::int32_t Progress(const char16_t *text, std::uint32_t index, std::uint32_t max) = 0;
    virtual std::int32_t Error(std::int32_t result, const char16_t *text) = 0;
    virtual std::int32_t Done(void *event, std::int32_t result) = 0;

protected:
    ~IMAPISyncProgressCallback() = default;
};

// Takes a reference of its own, as a provider's thread does.
extern "C" void synchronize(IMAPISyncProgressCallback *callback, const char *path) {
    callback->AddRef();
    callback = synctape_record(callback, path);
    std::thread([callback] {
        for (std::uint32_t index = 0; index <= 3; index++) callback->Progress(u"Inbox \U0001F600", index, 3);
        callback->Error(-2147467259, u"it is locked");
        callback->Done(nullptr, 0);
        callback->Release();
    }).join();
}
