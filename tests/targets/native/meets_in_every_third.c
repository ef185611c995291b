/* A host that is certain to lose a reference, if calls of two threads can be in it at the same time at all.
 *
 * In each third object AddRef loads the count, waits until another thread has loaded it, too, and stores what it made
 * of it.  It waits a minute at most, and not on the thread that made the object: who looks at the count does so there.
 * The other objects count well.
 */
#ifndef _WIN32
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#endif
#include "callback.h"

#include <time.h>

#ifdef _WIN32
__declspec(dllimport) int __stdcall SwitchToThread(void);
__declspec(dllimport) unsigned long __stdcall GetCurrentThreadId(void);
#define give_way SwitchToThread
#define own_id (uintptr_t)GetCurrentThreadId
#else
#define give_way sched_yield
#define own_id (uintptr_t)pthread_self
#endif

typedef struct Host {
    Callback callback;
    uintptr_t maker; /* of an object that meets, else 0 */
    int32_t inside;  /* how many threads have loaded the count */
} Host;

static int32_t made;

static uint32_t METHOD add_ref(Callback *self) {
    Host *host = (Host *)self;
    int32_t references;
    time_t began;
    if (host->maker == 0 || host->maker == own_id())
        return callback_add_ref(self);
    references = ATOMIC_ADD(&self->references, 0);
    ATOMIC_ADD(&host->inside, 1);
    for (began = time(NULL); ATOMIC_ADD(&host->inside, 0) < 2 && time(NULL) - began < 60;)
        give_way();
    *(volatile int32_t *)&self->references = references + 1;
    return (uint32_t)references + 1;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, add_ref, callback_release, callback_progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    const int32_t result = callback_create(ppv, sizeof(Host), &vtbl);
    if (result == S_OK && ++made % 3 == 0)
        ((Host *)*ppv)->maker = own_id();
    return result;
}
