// libFuzzer: linked with a native host, reads a sequence of calls from the bytes by a FuzzedDataProvider.
//
// Where REPORT names a file, four numbers are kept in it, as they are in memory: when the first sequence began and when
// the last one did, in ns of CLOCK_MONOTONIC, how many there were, and how many calls.  With CALLS in the environment
// each sequence has just so many calls, and no whole steps.  A host that names its state leads the search by it.
#include "mapisync.h"

#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/mman.h>

EXPORT HRESULT create(void **ppv);
extern "C" __attribute__((weak)) std::uint64_t create_state(void *object);

// What a host says of its state is coverage, too: libFuzzer reads this section after each sequence.
static std::uint8_t states[1024] __attribute__((section("__libfuzzer_extra_counters"), used));

static const ULONG numbers[] = {0, 1, 2, 3, 10, 99, 100, 101, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536,
                                0x7fffffff, 0x80000000, 0xffffffff};
static const ULONG codes[] = {0, 1, 0x00040203, 0x00040380, 0x00040680, 0x80004001, 0x80004004, 0x80004005, 0x8000ffff,
                              0x80070005, 0x8007000e, 0x80070057, 0x8004010f, 0x80040111, 0x80040113, 0x80040115,
                              0x80040600};
static const WCHAR *const texts[] = {u"", u"a", u"100%", u"%s", u"{}", u"Inbox", u"Folder Inbox", u"3 of 20", u"\xd800",
                                     u"\u202e", u"\n"};
static constexpr ULONG most_steps = 100;

struct Report {
    std::int64_t first, last, sequences, calls;
};

static Report *report() {
    static Report none, *kept = [] {
        const char *path = std::getenv("REPORT");
        const int file = path ? open(path, O_RDWR) : -1;
        void *mapped = file < 0 ? MAP_FAILED : mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        return mapped == MAP_FAILED ? &none : static_cast<Report *>(mapped);
    }();
    return kept;
}

static std::int64_t now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return std::int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

static const WCHAR *text(FuzzedDataProvider &data, Text &room) {
    const int kind = data.ConsumeIntegralInRange(0, 7);
    if (kind == 0) return nullptr;
    if (kind < 4) return data.PickValueInArray(texts);
    room.clear();
    for (int left = data.ConsumeIntegralInRange(0, kind == 7 ? 300 : 20); left > 0 && data.remaining_bytes() > 0; left--)
        room += static_cast<WCHAR>(data.ConsumeBool() ? data.ConsumeIntegral<std::uint8_t>()
                                                      : data.ConsumeIntegral<std::uint16_t>());
    return room.c_str();
}

static ULONG number(FuzzedDataProvider &data) {
    const int kind = data.ConsumeIntegralInRange(0, 3);
    if (kind < 2) return data.ConsumeIntegralInRange<ULONG>(0, 10);
    return kind == 2 ? data.PickValueInArray(numbers) : data.ConsumeIntegral<ULONG>();
}

static HRESULT code(FuzzedDataProvider &data) {
    return static_cast<HRESULT>(data.ConsumeBool() ? data.PickValueInArray(codes) : data.ConsumeIntegral<ULONG>());
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *bytes, std::size_t size) {
    static const int fixed = std::getenv("CALLS") ? std::atoi(std::getenv("CALLS")) : 0;
    Report *const kept = report();
    kept->last = now();
    if (kept->sequences++ == 0) kept->first = kept->last;

    FuzzedDataProvider data(bytes, size);
    void *made = nullptr;
    if (FAILED(create(&made))) return 0;
    auto *const host = static_cast<IMAPISyncProgressCallback *>(made);
    Text room;
    bool closes = true;  // the first handle is the host's to close
    for (int made = 0; fixed ? made < fixed : data.remaining_bytes() > 0; made++) {
        kept->calls++;
        const int method = data.ConsumeIntegralInRange(0, fixed ? 6 : 7);
        if (method < 4) {
            const WCHAR *what = text(data, room);
            const ULONG index = number(data);
            host->Progress(what, index, number(data));
        } else if (method < 6) {
            const HRESULT result = code(data);
            host->Error(result, text(data, room));
        } else if (method == 6) {
            const bool given = data.ConsumeBool();
            host->Done(given && closes ? CreateEventW(nullptr, true, false, nullptr) : nullptr, code(data));
            closes = closes && !given;
        } else {
            const WCHAR *what = text(data, room);
            const ULONG maximum = data.ConsumeIntegralInRange<ULONG>(1, data.ConsumeBool() ? 20 : most_steps);
            for (ULONG index = 0; index <= maximum; index++) host->Progress(index == 0 ? what : nullptr, index, maximum);
            kept->calls += maximum;
        }
        if (create_state != nullptr) states[create_state(host) % sizeof states] = 1;
    }
    host->Release();
    return 0;
}
