/* Progress crashes two functions below itself; Error jumps to an address where nothing is. */
#include "callback.h"

static int32_t read_null(const volatile int32_t *nothing) {
    return *nothing + 1;
}

static int32_t helper(uint32_t index) {
    return read_null(index > 0 ? NULL : (const int32_t *)&index) + 1;
}

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    (void)self, (void)text, (void)maximum;
    return helper(index) + 1;
}

static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    int32_t (*volatile nowhere)(int32_t) = NULL;
    (void)self, (void)text;
    return nowhere(result) + 1;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
