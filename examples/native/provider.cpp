// A message store's side of a sync: SynchronizeInBackground starts a thread that drives the host's callback.
//
//     synctape record build/provider.so:create -o run.tape
//
// `create` gives a correct provider.  Each other symbol gives one that makes the mistake that it is named after.
// What a sync does is its plan: SetPlan, or the environment: SYNC_PLAN="steps=20 error=0x80040115 pause=50".
#include "mapisync.h"

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#ifdef _WIN32
#include <objbase.h>
#endif

namespace {

struct Plan {
    ULONG steps = 3;
    HRESULT error = S_OK;  // what goes wrong after the last step; the sync then ends with it
    ULONG null_every = 0;  // every so many steps only the position is reported
    ULONG pause = 0;       // milliseconds between two steps
};
Plan planned;

// The number behind `name=` in SYNC_PLAN.
ULONG asked(const char *name, ULONG otherwise) {
    const char *text = std::getenv("SYNC_PLAN");
    const std::string plan = std::string(" ") + (text != nullptr ? text : "");
    const std::size_t at = plan.find(std::string(" ") + name + "=");
    if (at == std::string::npos) return otherwise;
    return static_cast<ULONG>(std::strtoul(plan.c_str() + plan.find('=', at) + 1, nullptr, 0));
}

Plan plan() {
    return {asked("steps", planned.steps), static_cast<HRESULT>(asked("error", static_cast<ULONG>(planned.error))),
            asked("null", planned.null_every), asked("pause", planned.pause)};
}

Text step_text(ULONG step) {
    Text text;
    for (const char letter : "message " + std::to_string(step)) text.push_back(static_cast<WCHAR>(letter));
    return text;
}

void rest(ULONG milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

// Another handle of the event, for this provider alone: the first one is the host's to close once Done has it.
HANDLE second_handle(HANDLE event) {
#ifdef _WIN32
    HANDLE own = nullptr;
    const HANDLE process = GetCurrentProcess();
    DuplicateHandle(process, event, process, &own, 0, FALSE, DUPLICATE_SAME_ACCESS);
    return own;
#else
    return handle_of(dup(descriptor_of(event)));
#endif
}

// A thread that calls has initialised COM (P19).
struct Apartment {
#ifdef _WIN32
    Apartment() : result(CoInitializeEx(nullptr, COINIT_MULTITHREADED)) {}
    ~Apartment() {
        if (SUCCEEDED(result)) CoUninitialize();
    }
    HRESULT result;
#else
    Apartment() {}
#endif
};

enum class Mistake {
    none,
    signals_first,
    needs_callback,
    skips_query,
    leaks_reference,
    releases_twice,
    calls_after_release,
    calls_after_done,
    no_done,
    done_twice,
    foreign_handle,
    closes_event,
    no_event,
    late_event,
    never_signals,
    never_ends,
    never_returns,
    fails,
    fails_but_calls,
    crashes,
    crashes_at_once,
};

struct Run {
    Mistake mistake;
    Plan plan;
    IMAPISyncProgressCallback *callback;  // with a reference of the run's own; NULL: nobody wants reports
    HANDLE event;                         // what the host was told; NULL: nothing
    HANDLE own;                           // the same event by a handle of the run's own
    HANDLE *late = nullptr;               // where the host is told, if that is not done before the run

    void progress(ULONG step) const {
        const Text text = step_text(step);  // lives for the call and no longer
        const bool silent = plan.null_every != 0 && step % plan.null_every == 0;
        callback->Progress(silent ? nullptr : text.c_str(), step, plan.steps);
    }

    void report() const {
        for (ULONG step = 1; step <= plan.steps; step++) {
            progress(step);
            rest(plan.pause);
        }
        if (FAILED(plan.error)) callback->Error(plan.error, step_text(plan.steps).c_str());
    }

    void finish() const {
        if (mistake == Mistake::signals_first) SetEvent(own);
        switch (mistake) {
        case Mistake::no_done:
            break;
        case Mistake::foreign_handle:
            callback->Done(CreateEventW(nullptr, 1, 0, nullptr), plan.error);
            break;
        default:
            callback->Done(event, plan.error);
        }
        if (mistake == Mistake::done_twice) callback->Done(event, plan.error);
        if (mistake == Mistake::calls_after_done) progress(plan.steps);
        if (mistake == Mistake::closes_event) CloseHandle(event);
        if (mistake != Mistake::leaks_reference) callback->Release();
        if (mistake == Mistake::releases_twice) callback->Release();
        if (mistake == Mistake::calls_after_release) progress(plan.steps);
    }

    void operator()() const {
        const Apartment apartment;
        if (late != nullptr) {
            rest(500);
            *late = event;
        }
        if (callback != nullptr) {
            report();
            if (mistake == Mistake::crashes) *static_cast<volatile int *>(nullptr) = 1;
            while (mistake == Mistake::never_ends) rest(1000);
            finish();
        }
        if (own == nullptr) return;
        if (mistake != Mistake::never_signals) SetEvent(own);  // the last thing that this thread does
        CloseHandle(own);
    }
};

template <Mistake mistake> struct Sync final : ComObject<IMAPISync> {
    HRESULT STDMETHODCALLTYPE SynchronizeInBackground(MAPISIB *sib) override {
        if (sib == nullptr || sib->ulSize < sizeof(MAPISIB) || sib->phSyncDoneEvent == nullptr) return E_INVALIDARG;
        if (mistake == Mistake::fails) return E_FAIL;
        if (mistake == Mistake::needs_callback && sib->punkCallBack == nullptr) return E_INVALIDARG;
        if (mistake == Mistake::crashes_at_once) *static_cast<volatile int *>(nullptr) = 1;
        while (mistake == Mistake::never_returns) rest(1000);
        IMAPISyncProgressCallback *callback = nullptr;
        if (mistake == Mistake::skips_query) {
            callback = static_cast<IMAPISyncProgressCallback *>(sib->punkCallBack);
            callback->AddRef();
        } else if (sib->punkCallBack != nullptr) {
            void *found = nullptr;
            const HRESULT result = sib->punkCallBack->QueryInterface(iid_of<IMAPISyncProgressCallback>, &found);
            if (SUCCEEDED(result)) callback = static_cast<IMAPISyncProgressCallback *>(found);
        }
        Run run = {mistake, plan(), callback, nullptr, nullptr, nullptr};
        if (mistake == Mistake::fails_but_calls) {
            run.report();
            callback->Release();
            return E_FAIL;
        }
        if (mistake != Mistake::no_event) {
            run.event = CreateEventW(nullptr, 1, 0, nullptr);
            run.own = second_handle(run.event);
            if (mistake == Mistake::late_event)
                run.late = sib->phSyncDoneEvent;
            else
                *sib->phSyncDoneEvent = run.event;
        }
        std::thread(run).detach();
        return S_OK;
    }
};

}  // namespace

EXPORT void SetPlan(ULONG steps, HRESULT error, ULONG null_every, ULONG pause) {
    planned = {steps, error, null_every, pause};
}

EXPORT HRESULT create(void **ppv) { return make<Sync<Mistake::none>>(ppv); }

// A factory that has nothing to give.
EXPORT HRESULT refuses(void **ppv) {
    *ppv = nullptr;
    return E_FAIL;
}

#define EXPORT_MISTAKE(name) \
    EXPORT HRESULT name(void **ppv) { return make<Sync<Mistake::name>>(ppv); }
EXPORT_MISTAKE(signals_first)        // none: which of event and Done comes first is open (U1)
EXPORT_MISTAKE(skips_query)          // P1: takes punkCallBack for the callback without asking
EXPORT_MISTAKE(needs_callback)       // P4: does not sync where nobody wants reports
EXPORT_MISTAKE(leaks_reference)      // P2: its last reference is not given back
EXPORT_MISTAKE(releases_twice)       // P2: one reference is given back twice
EXPORT_MISTAKE(calls_after_release)  // P3: Progress when the last reference is gone
EXPORT_MISTAKE(no_done)              // P12: ends without Done
EXPORT_MISTAKE(calls_after_done)     // P13: Progress after Done
EXPORT_MISTAKE(done_twice)           // P14
EXPORT_MISTAKE(foreign_handle)       // P15: Done gets another event than the host was told
EXPORT_MISTAKE(closes_event)         // P15: closes the event that Done was given
EXPORT_MISTAKE(no_event)             // P16: tells the host no event
EXPORT_MISTAKE(late_event)           // P16: tells it when SynchronizeInBackground has returned
EXPORT_MISTAKE(fails_but_calls)      // P17: reports, then answers that the sync was not started
EXPORT_MISTAKE(fails)                // none: refuses to start, and keeps quiet
EXPORT_MISTAKE(never_signals)        // does everything but signal its event
EXPORT_MISTAKE(never_ends)           // hangs before Done
EXPORT_MISTAKE(never_returns)        // hangs in SynchronizeInBackground
EXPORT_MISTAKE(crashes)              // on its own thread, after the last step
EXPORT_MISTAKE(crashes_at_once)      // in SynchronizeInBackground
