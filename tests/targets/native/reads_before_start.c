/* Progress trims blanks from the end of a text and does not stop at its start: an empty text is read before it. */
#include "callback.h"

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    const volatile uint16_t *end = text;
    (void)self, (void)index, (void)maximum;
    while (text != NULL && *end != 0)
        end++;
    while (text != NULL && end[-1] == ' ')
        end--;
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
