/* The bug: Progress measures a NULL text (H7); the process dies.
 *
 *     Progress(NULL, 0, 1)
 */
#include "callback.h"

typedef struct Host {
    Callback callback;
    size_t width;
} Host;

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    size_t width = 0;
    (void)index, (void)maximum;
    while (text[width] != 0)
        width++;
    ((Host *)self)->width = width;
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Host), &vtbl);
}
