/* An object with a method for each way in which the ABI carries a value; `stored` gives what the last call was given. */
#include "callback.h"

#include <stdio.h>

static char line[512];

EXPORT const char *stored(void) {
    return line;
}

typedef struct All All;

typedef struct AllVtbl {
    int32_t(METHOD *QueryInterface)(All *self, const uint8_t *riid, void **ppv);
    uint32_t(METHOD *AddRef)(All *self);
    uint32_t(METHOD *Release)(All *self);
    int64_t(METHOD *Integers)(All *self, int32_t b, int32_t i, uint32_t u, int64_t l, uint64_t m, int32_t h);
    uint64_t(METHOD *ByAddress)(All *self, const int32_t *i, const uint64_t *m, const uint8_t *iid);
    int32_t(METHOD *Outputs)(All *self, int32_t *i, uint32_t base, uint64_t *m, void **p);
    uint32_t(METHOD *Texts)(All *self, const uint16_t *a, const uint16_t *b, void *p);
    int32_t(METHOD *Many)(All *self, uint32_t a, uint32_t b, int64_t c, uint32_t d, uint32_t e, int32_t f, uint32_t g,
                          uint32_t h, uint64_t i, uint32_t j, int32_t k, uint32_t l);
    void(METHOD *Nothing)(All *self);
    int32_t(METHOD *TooMany)(All *self, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t f,
                             uint32_t g, uint32_t h, uint32_t i, uint32_t j, uint32_t k, uint32_t l, uint32_t m);
} AllVtbl;

struct All {
    const AllVtbl *vtbl;
    int32_t references;
};

static int32_t METHOD query_interface(All *self, const uint8_t *riid, void **ppv) {
    (void)riid;
    self->references++;
    *ppv = self;
    return S_OK;
}

static uint32_t METHOD add_ref(All *self) {
    return (uint32_t)++self->references;
}

static uint32_t METHOD release(All *self) {
    const int32_t left = --self->references;
    if (left == 0)
        free(self);
    return (uint32_t)left;
}

static int64_t METHOD integers(All *self, int32_t b, int32_t i, uint32_t u, int64_t l, uint64_t m, int32_t h) {
    (void)self;
    snprintf(line, sizeof line, "%d %d %u %lld %llu %d", (int)b, (int)i, (unsigned)u, (long long)l,
             (unsigned long long)m, (int)h);
    return l;
}

static uint64_t METHOD by_address(All *self, const int32_t *i, const uint64_t *m, const uint8_t *iid) {
    size_t at, n;
    (void)self;
    snprintf(line, sizeof line, "%d %llu ", i == NULL ? 77 : (int)*i, m == NULL ? 77 : (unsigned long long)*m);
    for (at = strlen(line), n = 0; iid != NULL && n < 16; at += 2, n++)
        snprintf(line + at, 3, "%02x", iid[n]);
    return m == NULL ? 0 : *m;
}

static int32_t METHOD outputs(All *self, int32_t *i, uint32_t base, uint64_t *m, void **p) {
    (void)self;
    snprintf(line, sizeof line, "%d %llu %d", (int)*i, (unsigned long long)*m, *p == NULL);
    *i = -(int32_t)base;
    *m = (uint64_t)base << 40;
    *p = base == 0 ? NULL : (void *)(uintptr_t)(base * 3u);
    return (int32_t)base;
}

static uint32_t METHOD texts(All *self, const uint16_t *a, const uint16_t *b, void *p) {
    uint32_t units = 0;
    (void)self;
    for (; a != NULL && *a != 0; a++)
        units += *a;
    for (; b != NULL && *b != 0; b++)
        units = units * 31 + *b;
    snprintf(line, sizeof line, "%u %d", (unsigned)units, p == NULL ? 0 : p == (void *)-1 ? -1 : 1);
    return units;
}

static int32_t METHOD many(All *self, uint32_t a, uint32_t b, int64_t c, uint32_t d, uint32_t e, int32_t f, uint32_t g,
                           uint32_t h, uint64_t i, uint32_t j, int32_t k, uint32_t l) {
    (void)self;
    snprintf(line, sizeof line, "%u %u %lld %u %u %d %u %u %llu %u %d %u", (unsigned)a, (unsigned)b, (long long)c,
             (unsigned)d, (unsigned)e, (int)f, (unsigned)g, (unsigned)h, (unsigned long long)i, (unsigned)j, (int)k,
             (unsigned)l);
    return k;
}

static void METHOD nothing(All *self) {
    (void)self;
    line[0] = 0;
}

static int32_t METHOD too_many(All *self, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t f,
                               uint32_t g, uint32_t h, uint32_t i, uint32_t j, uint32_t k, uint32_t l, uint32_t m) {
    (void)self;
    snprintf(line, sizeof line, "%u", (unsigned)(a + b + c + d + e + f + g + h + i + j + k + l + m));
    return (int32_t)m;
}

static const AllVtbl vtbl = {
    query_interface, add_ref, release, integers, by_address, outputs, texts, many, nothing, too_many,
};

EXPORT int32_t create(void **ppv) {
    All *self = calloc(1, sizeof *self);
    if (self == NULL)
        return E_OUTOFMEMORY;
    self->vtbl = &vtbl;
    self->references = 1;
    *ppv = self;
    return S_OK;
}
