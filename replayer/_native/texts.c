#include "texts.h"

#include "pages.h"

#include <stdlib.h>
#include <string.h>

#define POISON 0xDD
#define RING_SLOTS 64
#define STRICT_SLOTS 1024
#define ARENA_BYTES (16u << 10)
#define MAX_LARGE 64
#define LARGE_BYTES ((size_t)32 << 20) /* of addresses that returned large texts keep inaccessible */
#define MAX_LIVE 64                     /* texts of one call */
#define MAX_TEXTS 64                    /* SynTexts of a process that meanings are known of */

typedef enum State { NEVER, LIVE, RETURNED } State;

typedef struct Slot {
    uint64_t call;
    uint32_t bytes; /* with the NUL */
    uint16_t offset;
    uint8_t state;
    uint8_t at_start;
} Slot;

typedef struct Large {
    uint8_t *at; /* an inaccessible page, the text's, another inaccessible one */
    size_t size;
    uint64_t call;
    State state;
} Large;

struct SynTexts {
    SynGuard guard;
    uint32_t count; /* of slots, a power of two */
    uint32_t next;
    uint64_t random; /* 0: none */
    size_t page;
    PagesTwice pages; /* guard, slot, guard, slot, ..., guard */
    Slot *slots;
    uint32_t live_count, large_live;
    uint32_t live[MAX_LIVE]; /* slots */
    Large large[MAX_LARGE];
    uint32_t large_next;
    size_t large_bytes;
    uint8_t *arena; /* UNGUARDED */
    size_t arena_used;
    void *heap[MAX_LIVE]; /* UNGUARDED: texts longer than the arena, until their call returns */
    uint32_t heap_count;
};

static SynTexts *volatile known[MAX_TEXTS];

static void make_known(SynTexts *texts, SynTexts *before) {
    int i;
    for (i = 0; i < MAX_TEXTS; i++) {
        if (known[i] == before) {
            known[i] = texts;
            return;
        }
    }
}

static uint8_t *seen_page(const SynTexts *texts, uint32_t slot) {
    return texts->pages.seen + (2 * (size_t)slot + 1) * texts->page;
}

static uint8_t *written_page(const SynTexts *texts, uint32_t slot) {
    return texts->pages.written + (2 * (size_t)slot + 1) * texts->page;
}

SynTexts *syn_texts_new(SynGuard guard, uint32_t slots, uint64_t seed) {
    SynTexts *texts = calloc(1, sizeof *texts);
    uint32_t wanted = slots != 0 ? slots : guard == SYN_STRICT ? STRICT_SLOTS : RING_SLOTS, i;
    if (texts == NULL)
        return NULL;
    texts->guard = guard;
    texts->random = seed;
    texts->page = pages_size();
    if (guard == SYN_UNGUARDED) {
        texts->arena = malloc(ARENA_BYTES);
        if (texts->arena != NULL)
            return texts;
        free(texts);
        return NULL;
    }
    for (texts->count = MAX_LIVE; texts->count < wanted && texts->count < 1u << 16;)
        texts->count *= 2;
    texts->slots = calloc(texts->count, sizeof *texts->slots);
    if (texts->slots == NULL || pages_map_twice(&texts->pages, (2 * (size_t)texts->count + 1) * texts->page) != 0) {
        free(texts->slots);
        free(texts);
        return NULL;
    }
    if (guard == SYN_STRICT) { /* a slot is made readable when it is used */
        pages_protect(texts->pages.seen, texts->pages.size, PAGES_NONE);
    } else {
        for (i = 0; i <= texts->count; i++)
            pages_protect(texts->pages.seen + 2 * (size_t)i * texts->page, texts->page, PAGES_NONE);
    }
    make_known(texts, NULL);
    return texts;
}

void syn_texts_free(SynTexts *texts) {
    uint32_t i;
    if (texts == NULL)
        return;
    make_known(NULL, texts);
    if (texts->guard != SYN_UNGUARDED)
        pages_unmap_twice(&texts->pages);
    for (i = 0; i < MAX_LARGE; i++) {
        if (texts->large[i].at != NULL)
            pages_unmap(texts->large[i].at, texts->large[i].size);
    }
    for (i = 0; i < texts->heap_count; i++)
        free(texts->heap[i]);
    free(texts->arena);
    free(texts->slots);
    free(texts);
}

static uint64_t next_random(SynTexts *texts) { /* xorshift64 */
    uint64_t x = texts->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return texts->random = x;
}

static void fill(uint8_t *to, const uint16_t *text, size_t bytes) {
    memcpy(to, text, bytes - 2);
    to[bytes - 2] = to[bytes - 1] = 0;
}

static const uint16_t *place_unguarded(SynTexts *texts, const uint16_t *text, size_t bytes) {
    uint8_t *at;
    if (bytes > ARENA_BYTES / 4) {
        if (texts->heap_count == MAX_LIVE || (at = malloc(bytes)) == NULL)
            return NULL;
        texts->heap[texts->heap_count++] = at;
    } else {
        if (texts->arena_used + bytes > ARENA_BYTES)
            texts->arena_used = 0;
        at = texts->arena + texts->arena_used;
        texts->arena_used += (bytes + 15) & ~(size_t)15;
    }
    fill(at, text, bytes);
    return (const uint16_t *)(void *)at;
}

/* The oldest large text gives up its addresses. */
static int forget_large(SynTexts *texts, uint32_t number) {
    Large *large = &texts->large[number];
    if (large->at == NULL)
        return 0;
    if (large->state == LIVE)
        return -1;
    texts->large_bytes -= large->size;
    pages_unmap(large->at, large->size);
    large->at = NULL;
    return 0;
}

static const uint16_t *place_large(SynTexts *texts, const uint16_t *text, size_t bytes, int at_start, uint64_t call) {
    const size_t page = texts->page, inner = (bytes + page - 1) / page * page;
    const uint32_t number = texts->large_next++ % MAX_LARGE;
    Large *large = &texts->large[number];
    uint32_t i;
    uint8_t *at;
    if (forget_large(texts, number) != 0)
        return NULL;
    for (i = 1; i < MAX_LARGE && texts->large_bytes > LARGE_BYTES; i++)
        forget_large(texts, (number + i) % MAX_LARGE);
    if ((large->at = pages_map(inner + 2 * page)) == NULL)
        return NULL;
    large->size = inner + 2 * page;
    large->call = call;
    large->state = LIVE;
    texts->large_bytes += large->size;
    texts->large_live++;
    at = large->at + page + (at_start ? 0 : inner - bytes);
    fill(at, text, bytes);
    pages_protect(large->at, page, PAGES_NONE);
    pages_protect(large->at + page, inner, PAGES_READ);
    pages_protect(large->at + page + inner, page, PAGES_NONE);
    return (const uint16_t *)(void *)at;
}

const uint16_t *syn_texts_place(SynTexts *texts, const uint16_t *text, size_t units, uint64_t call) {
    const size_t bytes = 2 * units + 2;
    uint32_t number;
    int at_start;
    Slot *slot;
    if (texts->guard == SYN_UNGUARDED)
        return place_unguarded(texts, text, bytes);
    at_start = texts->random != 0 && next_random(texts) >> 63;
    if (bytes > texts->page)
        return place_large(texts, text, bytes, at_start, call);
    if (texts->live_count == MAX_LIVE)
        return NULL;
    number = texts->next++ & (texts->count - 1);
    slot = &texts->slots[number];
    if (texts->guard == SYN_STRICT || !texts->pages.alias)
        pages_protect(seen_page(texts, number), texts->page, texts->pages.alias ? PAGES_READ : PAGES_WRITE);
    slot->call = call;
    slot->bytes = (uint32_t)bytes;
    slot->offset = (uint16_t)(at_start ? 0 : texts->page - bytes);
    slot->at_start = (uint8_t)at_start;
    slot->state = LIVE;
    texts->live[texts->live_count++] = number;
    fill(written_page(texts, number) + slot->offset, text, bytes);
    if (!texts->pages.alias)
        pages_protect(seen_page(texts, number), texts->page, PAGES_READ);
    return (const uint16_t *)(void *)(seen_page(texts, number) + slot->offset);
}

static void slot_returned(SynTexts *texts, uint32_t number) {
    Slot *slot = &texts->slots[number];
    slot->state = RETURNED;
    if (texts->guard == SYN_STRICT) {
        pages_protect(seen_page(texts, number), texts->page, PAGES_NONE);
        return;
    }
    if (!texts->pages.alias)
        pages_protect(seen_page(texts, number), texts->page, PAGES_WRITE);
    if (slot->at_start) /* all of the page: a stale strlen must not find a zero behind the text */
        memset(written_page(texts, number), POISON, texts->page);
    else
        memset(written_page(texts, number) + slot->offset, POISON, slot->bytes);
}

static void large_returned(SynTexts *texts) {
    uint32_t i;
    for (i = 0; i < MAX_LARGE && texts->large_live > 0; i++) {
        Large *large = &texts->large[i];
        if (large->at != NULL && large->state == LIVE) {
            large->state = RETURNED;
            texts->large_live--;
            pages_drop(large->at, large->size);
        }
    }
    while (texts->heap_count > 0)
        free(texts->heap[--texts->heap_count]);
}

void syn_texts_returned(SynTexts *texts) {
    while (texts->live_count > 0)
        slot_returned(texts, texts->live[--texts->live_count]);
    if (texts->large_live > 0 || texts->heap_count > 0)
        large_returned(texts);
}

static SynMeaning slot_meaning(const SynTexts *texts, size_t offset, int write, uint64_t *call) {
    const size_t index = offset / texts->page, within = offset % texts->page;
    const Slot *slot, *other;
    int after;
    if (index % 2 == 1) {
        slot = &texts->slots[index / 2];
        *call = slot->call;
        return slot->state == LIVE ? (write ? SYN_WROTE : SYN_NO_TEXT) : SYN_USED_LATER;
    }
    /* the page behind one slot and before another */
    slot = index > 0 ? &texts->slots[index / 2 - 1] : NULL;
    other = index / 2 < texts->count ? &texts->slots[index / 2] : NULL;
    after = slot != NULL && !slot->at_start && slot->state != NEVER;
    if (other != NULL && other->at_start && other->state != NEVER && (!after || within >= texts->page / 2))
        after = 0;
    else if (slot != NULL)
        after = 1;
    if (!after)
        slot = other;
    if (slot == NULL || slot->state == NEVER)
        return SYN_NO_TEXT;
    *call = slot->call;
    return slot->state == RETURNED ? SYN_USED_LATER : after ? SYN_PAST_END : SYN_BEFORE_START;
}

static SynMeaning large_meaning(const SynTexts *texts, const Large *large, size_t offset, int write, uint64_t *call) {
    *call = large->call;
    if (large->state == RETURNED)
        return SYN_USED_LATER;
    if (offset < texts->page)
        return SYN_BEFORE_START;
    return offset >= large->size - texts->page ? SYN_PAST_END : write ? SYN_WROTE : SYN_NO_TEXT;
}

SynMeaning syn_texts_meaning(uintptr_t address, int write, uint64_t *call) {
    int i, j;
    for (i = 0; i < MAX_TEXTS; i++) {
        const SynTexts *texts = known[i];
        uintptr_t seen;
        if (texts == NULL)
            continue;
        seen = (uintptr_t)texts->pages.seen;
        if (address >= seen && address - seen < texts->pages.size)
            return slot_meaning(texts, address - seen, write, call);
        for (j = 0; j < MAX_LARGE; j++) {
            const Large *large = &texts->large[j];
            const uintptr_t at = (uintptr_t)large->at;
            if (at != 0 && address >= at && address - at < large->size)
                return large_meaning(texts, large, address - at, write, call);
        }
    }
    return SYN_NO_TEXT;
}
