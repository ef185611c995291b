// A table that learns from the order of the reports which of its providers is speaking.
//
// Bug: the last provider of the table has no name.
// Depth: 5
// Code: X1
//
//     Progress(NULL, 0, 2)
//     Progress(NULL, 1, 2)
//     Error(S_OK, "")
//     Progress(NULL, 0, 0)
//     Error(E_FAIL, "")
//     Progress(NULL, 2, 2)
#include "host.h"

enum Report { begins, goes_on, ends, waits, warns, fails, is_over, reports };

static const unsigned char next_state[][reports] = {
    {1, 0, 0, 0, 0, 0, 0},
    {1, 2, 0, 0, 0, 0, 0},
    {1, 0, 0, 0, 3, 0, 0},
    {1, 0, 0, 4, 0, 0, 0},
    {1, 0, 0, 0, 0, 5, 0},
    {1, 0, 6, 0, 0, 0, 0},
    {1, 0, 0, 0, 0, 0, 0},
};
static const char *const names[] = {"?", "?", "?", "old", "gateway", "gateway", nullptr};

struct DialectTable : Host {
    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        // without a branch: waits where there is no maximum, else begins, goes on or ends by the index
        take(static_cast<Report>((index != 0) + (index >= maximum) + (maximum == 0) * (2 - (index != 0))));
        return Host::Progress(text, index, maximum);
    }

    HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) override {
        take(static_cast<Report>(warns + FAILED(result)));
        return Host::Error(result, text);
    }

    HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) override {
        take(is_over);
        return Host::Done(event, result);
    }

    void take(Report report) {
        state = next_state[state][report];
        initial = names[state][0];
    }

    unsigned char state = 0;
    char initial = '?';
};

EXPORT_OBJECT(DialectTable)

// Names the state that an object is in, for searches that are led by it.
EXPORT std::uint64_t create_state(void *object) {
    return static_cast<DialectTable *>(static_cast<IMAPISyncProgressCallback *>(object))->state;
}
