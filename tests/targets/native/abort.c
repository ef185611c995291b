/* The bug: Error takes a warning for impossible and aborts (H13).
 *
 *     Error(S_OK, NULL)
 *
 * A documented warning does it as well: Error(MAPI_W_PARTIAL_COMPLETION, "text").
 */
#include "callback.h"

static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    (void)self, (void)text;
    if (result >= 0)
        abort();
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, callback_progress, error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
