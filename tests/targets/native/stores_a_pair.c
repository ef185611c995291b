/* An index and its maximum, stored one after the other without a lock: what is shown may be of two different calls.
 *
 * Shortest schedule: two calls of Progress with different positions on two threads, the second between the stores of
 * the first (`0: Progress @2`, `1: Progress`).  The state that the library exports is then one that no order of the
 * calls leaves (X16).  ThreadSanitizer sees the race however the calls fall (X17).
 */
#include "callback.h"

typedef struct Host {
    Callback callback;
    volatile uint32_t index, maximum;
} Host;

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    Host *host = (Host *)self;
    (void)text;
    host->index = index;
    host->maximum = maximum;
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Host), &vtbl);
}

EXPORT uint64_t create_state(void *object);

EXPORT uint64_t create_state(void *object) {
    const Host *host = object;
    return (uint64_t)host->index << 32 | host->maximum;
}
