/* A correct host: nothing may be found in it.
 *
 * It copies what it shows during the call, in bounds; it shows a share of 0..100 % for any index and maximum;
 * Done closes its handle once, and after Done nothing changes.
 */
#include "callback.h"

#define TEXT_UNITS 260
#define PROBLEMS 100

typedef struct Problem {
    int32_t result;
    uint16_t text[TEXT_UNITS];
} Problem;

typedef struct Host {
    Callback callback;
    uint16_t step[TEXT_UNITS];
    uint32_t percent;
    uint32_t problems;
    Problem problem[PROBLEMS];
} Host;

/* Copy a NUL-terminated text, cut to what fits; NULL makes an empty one. */
static void copy_text(uint16_t *to, const uint16_t *text) {
    size_t length = 0;
    while (text != NULL && text[length] != 0 && length < TEXT_UNITS - 1) {
        to[length] = text[length];
        length++;
    }
    to[length] = 0;
}

static uint32_t share(uint32_t index, uint32_t maximum) {
    if (maximum == 0)
        return 0;
    return index < maximum ? (uint32_t)((uint64_t)index * 100 / maximum) : 100;
}

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    Host *host = (Host *)self;
    callback_lock(self);
    if (!self->done) {
        if (text != NULL)
            copy_text(host->step, text);
        host->percent = share(index, maximum);
    }
    callback_unlock(self);
    return S_OK;
}

static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    Host *host = (Host *)self;
    callback_lock(self);
    if (!self->done && host->problems < PROBLEMS) {
        Problem *problem = &host->problem[host->problems++];
        problem->result = result;
        copy_text(problem->text, text);
    }
    callback_unlock(self);
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Host), &vtbl);
}
