/* Progress keeps the text's pointer; the next call reads what it points to: Progress one unit, Error its length. */
#include "callback.h"

typedef struct Host {
    Callback callback;
    const volatile uint16_t *kept;
} Host;

static uint32_t sink;

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    Host *host = (Host *)self;
    (void)index, (void)maximum;
    if (host->kept != NULL)
        sink = host->kept[0];
    host->kept = text;
    return (int32_t)sink;
}

static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    Host *host = (Host *)self;
    (void)result, (void)text;
    for (sink = 0; host->kept != NULL && host->kept[sink] != 0;)
        sink++;
    return (int32_t)sink;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Host), &vtbl);
}
