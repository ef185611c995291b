// A correct host: a table of states with a name for each, counters that may wrap, and an end that nothing leads out of.
//
// Bug: none
#include "host.h"

enum Report { begins, goes_on, ends, waits, warns, fails, is_over, reports };

static const unsigned char next_state[][reports] = {
    {1, 0, 0, 0, 0, 0, 5},
    {1, 1, 0, 2, 1, 3, 5},
    {1, 1, 0, 2, 2, 3, 5},
    {4, 3, 0, 3, 3, 3, 5},
    {4, 1, 0, 2, 4, 3, 5},
    {5, 5, 5, 5, 5, 5, 5},
};
static const char *const names[] = {"idle", "running", "waiting", "failing", "retrying", "over"};

struct GoodTable : Host {
    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        take(maximum == 0 ? waits : index == 0 ? begins : index < maximum ? goes_on : ends);
        return Host::Progress(text, index, maximum);
    }

    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        take(FAILED(result) ? fails : warns);
        return Host::Error(result, text);
    }

    HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) override {
        take(is_over);
        return Host::Done(event, result);
    }

    void take(Report report) {
        const std::lock_guard<std::mutex> hold(lock);
        taken++;
        state = next_state[state][report];
        initial = names[state][0];
    }

    std::uint16_t taken = 0;
    unsigned char state = 0;
    char initial = 'i';
};

EXPORT_OBJECT(GoodTable)

// Names the state that an object is in, for searches that are led by it.
EXPORT std::uint64_t create_state(void *object) {
    return static_cast<GoodTable *>(static_cast<IMAPISyncProgressCallback *>(object))->state;
}
