/* The bug: Done never closes its handle (H14).
 *
 *     Done(handle, S_OK)
 */
#include "callback.h"

static int32_t METHOD done(Callback *self, void *handle, int32_t result) {
    (void)handle, (void)result;
    self->done = 1;
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, callback_progress, callback_error, done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
