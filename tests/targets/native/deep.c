/* A host with a bug behind a position, a text, and an order of calls.
 *
 * Built with -fsanitize-coverage it shows the way; without, nobody comes there by chance.  Progress(_, 48879, _) opens
 * it, then Progress("FIND...", _, _) and an Error with 0x0BADF00D, in this order, make it read NULL.
 */
#include "callback.h"

typedef struct Host {
    Callback callback;
    int stage;
} Host;

static int begins_with(const uint16_t *text, const char *with) {
    while (*with != 0) {
        if (*text++ != (unsigned char)*with++)
            return 0;
    }
    return 1;
}

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    Host *host = (Host *)self;
    (void)maximum;
    if (index == 48879 && host->stage == 0)
        host->stage = 1;
    if (text != NULL && host->stage == 1 && begins_with(text, "FIND"))
        host->stage = 2;
    return S_OK;
}

static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    Host *host = (Host *)self;
    (void)text;
    if (host->stage == 2 && result == 0x0BADF00D)
        return *(volatile int32_t *)NULL;
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Host), &vtbl);
}
