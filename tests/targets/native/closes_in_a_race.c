/* Done looks whether it has closed the handle already, and notes it only when it has: two at once close it twice.
 *
 * Shortest schedule: two calls of Done with the same handle on two threads, the second between the look and the note
 * of the first (`0: Done @2`, `1: Done`): H14.
 */
#include "callback.h"

static int32_t METHOD done(Callback *self, void *handle, int32_t result) {
    (void)result;
    if (*(volatile int32_t *)&self->done == 0 && handle != NULL) {
        close_handle(handle);
        *(volatile int32_t *)&self->done = 1;
    }
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, callback_progress, callback_error, done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
