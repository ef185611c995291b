/* A reference count that is loaded, changed and stored: two threads that do so at once lose one of the changes.
 *
 * Shortest schedule: two calls of AddRef on two threads, the second between the load and the store of the first
 * (`0: AddRef @2`, `1: AddRef`).  The object then goes while a caller still holds a reference (H5).
 */
#include "callback.h"

static uint32_t METHOD add_ref(Callback *self) {
    const int32_t references = *(volatile int32_t *)&self->references;
    *(volatile int32_t *)&self->references = references + 1;
    return (uint32_t)references + 1;
}

static uint32_t METHOD release(Callback *self) {
    const int32_t references = *(volatile int32_t *)&self->references - 1;
    *(volatile int32_t *)&self->references = references;
    if (references == 0)
        free(self);
    return (uint32_t)references;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, add_ref, release, callback_progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
