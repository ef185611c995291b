/* A thread of the host reads the text once the call has returned. */
#include "callback.h"

#ifdef _WIN32
__declspec(dllimport) void *__stdcall CreateThread(void *security, size_t stack, unsigned long(__stdcall *start)(void *),
                                                   void *argument, unsigned long flags, unsigned long *id);
#else
#include <pthread.h>
#endif

typedef struct Host {
    Callback callback;
    const volatile uint16_t *volatile kept;
    volatile int returned;
} Host;

static void read_later(Host *host) {
    static volatile uint16_t sink;
    while (!host->returned) {
    }
    sink = host->kept[0];
    (void)sink;
}

#ifdef _WIN32
static unsigned long __stdcall reader(void *host) {
    read_later(host);
    return 0;
}
#else
static void *reader(void *host) {
    read_later(host);
    return NULL;
}
#endif

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    Host *host = (Host *)self;
    (void)index, (void)maximum;
    host->kept = text;
#ifdef _WIN32
    CloseHandle(CreateThread(NULL, 0, reader, host, 0, NULL));
#else
    {
        pthread_t thread;
        pthread_create(&thread, NULL, reader, host);
        pthread_detach(thread);
    }
#endif
    return S_OK;
}

/* The call after it waits for the thread. */
static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    Host *host = (Host *)self;
    (void)text;
    for (host->returned = 1; host->returned;) {
    }
    return result;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Host), &vtbl);
}
