/* Error calls a function that never ends calling itself. */
#include "callback.h"

static uint32_t deeper(const volatile uint32_t *outer) {
    volatile uint32_t here[64];
    here[0] = outer[0] + 1;
    return deeper(here) + here[0];
}

static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    const volatile uint32_t start = (uint32_t)result;
    (void)self, (void)text;
    return (int32_t)deeper(&start);
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, callback_progress, error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
