/* The bug: Progress draws its bar two per cent at a time up to the share, and never meets an odd one (H18).
 *
 *     Progress(NULL, 1, 100)
 */
#include "callback.h"

typedef struct Host {
    Callback callback;
    volatile uint32_t drawn;
} Host;

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    Host *host = (Host *)self;
    const uint32_t done = index < maximum ? index : maximum;
    const uint32_t share = maximum ? (uint32_t)((uint64_t)done * 100 / maximum) : 0;
    (void)text;
    host->drawn = 0;
    while (host->drawn != share)
        host->drawn += 2;
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Host), &vtbl);
}
