/* Progress cuts the caller's own text at its first blank. */
#include "callback.h"

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    uint16_t *at = (uint16_t *)(uintptr_t)text;
    (void)self, (void)index, (void)maximum;
    while (at != NULL && *at != 0 && *at != ' ')
        at++;
    if (at != NULL && *at == ' ')
        *at = 0;
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
