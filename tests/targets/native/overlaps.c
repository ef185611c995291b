/* A host for calls that overlap and nest.
 *
 * Progress(text, 1, ...) returns once Progress(text, 2, ...) has been made, on another thread or inside it.  Error
 * shows a box, which lets messages through: it calls what create_pump was given, and nothing where that is NULL.
 */
#include "callback.h"

typedef struct Host {
    Callback callback;
    int32_t second;
} Host;

static void (*pump)(void);

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    Host *host = (Host *)self;
    (void)text, (void)maximum;
    if (index == 2)
        ATOMIC_ADD(&host->second, 1);
    while (index == 1 && ATOMIC_ADD(&host->second, 0) == 0) {
    }
    return S_OK;
}

static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    (void)self, (void)text;
    if (pump != NULL)
        pump();
    return result;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Host), &vtbl);
}

EXPORT void create_pump(void (*function)(void)) {
    pump = function;
}
