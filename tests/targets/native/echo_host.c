/* Stores what it is given; `stored` gives it back as text, one line a call, until the object is gone. */
#include "callback.h"

#include <stdio.h>

#define ROOM (1 << 22)

static char log_[ROOM];
static size_t used;

static void add(const char *text) {
    const size_t length = strlen(text);
    if (used + length < ROOM) {
        memcpy(log_ + used, text, length + 1);
        used += length;
    }
}

static void add_text(const uint16_t *text) {
    char unit[8];
    if (text == NULL)
        add("NULL");
    for (; text != NULL && *text != 0; text++) {
        snprintf(unit, sizeof unit, "%04x", *text);
        add(unit);
    }
}

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    char numbers[64];
    (void)self;
    add("P ");
    add_text(text);
    snprintf(numbers, sizeof numbers, " %u %u\n", (unsigned)index, (unsigned)maximum);
    add(numbers);
    return (int32_t)(index ^ maximum);
}

static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    char number[32];
    (void)self;
    snprintf(number, sizeof number, "E %d ", (int)result);
    add(number);
    add_text(text);
    add("\n");
    return -result;
}

static int32_t METHOD done(Callback *self, void *handle, int32_t result) {
    char number[64];
    (void)self;
    snprintf(number, sizeof number, "D %s %d\n", handle == NULL ? "NULL" : "handle", (int)result);
    add(number);
    return result;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, done,
};

EXPORT const char *stored(void) {
    return log_;
}

EXPORT int32_t create(void **ppv) {
    used = 0;
    log_[0] = 0;
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
