/* What benchmarks/native.py compares with: a trivial host, and a bare loop that calls it.
 *
 * The host looks at every unit of a text, as one that shows it must.  The loop makes a sequence of ten calls, nine Progress
 * and a Done, with its strings ready.
 */
#include "callback.h"

EXPORT uint32_t total; /* so that nothing is optimised away */

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    uint32_t units = 0;
    (void)self;
    while (text != NULL && text[units] != 0)
        units++;
    total += units + index + maximum;
    return S_OK;
}

static int32_t METHOD done(Callback *self, void *handle, int32_t result) {
    (void)self, (void)handle;
    total += (uint32_t)result;
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, callback_error, done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}

/* `texts`: nine of `units` units each, with their NULs. */
EXPORT void bare_loop(Callback *callback, const uint16_t *texts, uint32_t units, uint32_t sequences) {
    uint32_t sequence, index;
    for (sequence = 0; sequence < sequences; sequence++) {
        for (index = 0; index < 9; index++)
            callback->vtbl->Progress(callback, texts + index * (units + 1), index, 9);
        callback->vtbl->Done(callback, NULL, 0);
    }
}
