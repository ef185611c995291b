/* Progress copies a fixed number of units, however short the text is. */
#include "callback.h"

static uint16_t shown[64];

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    size_t i;
    (void)self, (void)index, (void)maximum;
    for (i = 0; text != NULL && i < 64; i++)
        shown[i] = ((const volatile uint16_t *)text)[i];
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
