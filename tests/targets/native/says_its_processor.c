/* A host whose AddRef answers which processor it runs on, and whose Progress, on how many it may (Linux). */
#define _GNU_SOURCE
#include <sched.h>

#include "callback.h"

static uint32_t METHOD add_ref(Callback *self) {
    callback_add_ref(self);
    return (uint32_t)sched_getcpu();
}

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    cpu_set_t allowed;
    (void)self, (void)text, (void)index, (void)maximum;
    return sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : -1;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, add_ref, callback_release, progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
