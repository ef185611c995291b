/* A host: implements IMAPISyncProgressCallback and remembers what it was told. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct Host {
    const void *vtable;
    atomic_uint references;
    uint32_t index, max, text_units; /* of the last Progress or Error; 0xFFFFFFFF units: NULL */
    int32_t error, result;
    void *event;
    uint16_t text[64];
} Host;

static atomic_uint alive;

static const uint8_t IUNKNOWN[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46};
static const uint8_t CALLBACK[16] = {0x86, 0xA3, 0x24, 0x50, 0x44, 0x2D, 0x6A, 0x48,
                                     0x81, 0xA8, 0x8F, 0x0E, 0xCB, 0x60, 0x71, 0xDD};

static uint32_t AddRef(Host *this) { return atomic_fetch_add(&this->references, 1) + 1; }

static uint32_t Release(Host *this) {
    uint32_t left = atomic_fetch_sub(&this->references, 1) - 1;
    if (!left) {
        atomic_fetch_sub(&alive, 1);
        free(this);
    }
    return left;
}

static int32_t QueryInterface(Host *this, const uint8_t *riid, void **ppv) {
    if (!ppv) return (int32_t)0x80004003; /* E_POINTER */
    *ppv = NULL;
    if (memcmp(riid, IUNKNOWN, 16) && memcmp(riid, CALLBACK, 16)) return (int32_t)0x80004002; /* E_NOINTERFACE */
    *ppv = this;
    AddRef(this);
    return 0;
}

static void remember(Host *this, const uint16_t *text) {
    this->text_units = 0xFFFFFFFF;
    if (!text) return;
    for (this->text_units = 0; text[this->text_units]; this->text_units++)
        if (this->text_units < 64) this->text[this->text_units] = text[this->text_units];
}

static int32_t Progress(Host *this, const uint16_t *text, uint32_t index, uint32_t max) {
    remember(this, text);
    this->index = index;
    this->max = max;
    return index > max ? 1 : 0; /* S_FALSE */
}

static int32_t Error(Host *this, int32_t hr, const uint16_t *text) {
    remember(this, text);
    this->error = hr;
    return hr; /* gives back what it got */
}

static int32_t Done(Host *this, void *event, int32_t hr) {
    this->event = event;
    this->result = hr;
    return 0;
}

static const void *const VTABLE[] = {QueryInterface, AddRef, Release, Progress, Error, Done};

int32_t create(void **ppv) {
    Host *host = calloc(1, sizeof *host);
    host->vtable = VTABLE;
    host->references = 1;
    atomic_fetch_add(&alive, 1);
    *ppv = host;
    return 0;
}

uint32_t hosts_alive(void) { return alive; }
