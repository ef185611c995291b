// A host that throws through the recorder, and a provider that catches what it threw.
#include "synctape_record.h"

#include <cstdint>

struct Callback {
    virtual std::int32_t QueryInterface(const void *riid, void **ppv) = 0;
    virtual std::uint32_t AddRef() = 0;
    virtual std::uint32_t Release() = 0;
    virtual std::int32_t Progress(const char16_t *text, std::uint32_t index, std::uint32_t max) = 0;
    virtual std::int32_t Error(std::int32_t result, const char16_t *text) = 0;
    virtual std::int32_t Done(void *event, std::int32_t result) = 0;

protected:
    ~Callback() = default;
};

struct Host final : Callback {
    Callback *recorded = nullptr;

    std::int32_t QueryInterface(const void *, void **) override { return -1; }
    std::uint32_t AddRef() override { return 1; }
    std::uint32_t Release() override { return 0; }
    std::int32_t Progress(const char16_t *, std::uint32_t index, std::uint32_t) override {
        try {
            recorded->Error(static_cast<std::int32_t>(index), nullptr);
        } catch (int code) {
            return code;
        }
        return 0;
    }
    std::int32_t Error(std::int32_t result, const char16_t *) override { throw 40 + result; }
    std::int32_t Done(void *, std::int32_t result) override { return result; }
};

extern "C" std::int32_t throw_twice(const char *path) {
    Host host;
    host.recorded = synctape_record(static_cast<Callback *>(&host), path);
    std::int32_t sum = host.recorded->Progress(u"first", 1, 2) + host.recorded->Progress(u"second", 2, 2);
    host.recorded->Done(nullptr, 0);
    host.recorded->Release();
    return sum;
}
