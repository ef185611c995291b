#include "tally.h"

#include "msgpack.h"

#include <stdlib.h>
#include <string.h>

enum { END = 0, TEXT = 1, THREAD = 2, LEAVE = 3, FAIL = 4, ENTER = 16, SHORT_RECORD = 30, MAX_FIELDS = 4096 };

#define SECOND INT64_C(1000000000)
#define FARTHEST (INT64_C(1) << 61) /* ns; sums of two such times fit 64 bits */

static uint32_t crc32_of(const uint8_t *data, size_t size) {
    static uint32_t table[256];
    uint32_t crc = 0xFFFFFFFFu, n, k, c;
    if (!table[1])
        for (n = 256; n-- > 0;) {
            for (c = n, k = 0; k < 8; k++)
                c = c >> 1 ^ (c & 1 ? 0xEDB88320u : 0);
            table[n] = c;
        }
    while (size--)
        crc = crc >> 8 ^ table[(crc ^ *data++) & 0xFF];
    return ~crc;
}

/* The size of the check behind a record, 0 if it does not match, -1 if it is not all there. */
static int check(const uint8_t *record, size_t size, size_t left) {
    unsigned low = 1;
    size_t n;
    if (size <= SHORT_RECORD) {
        if (left < 2) return -1;
        for (n = 0; n < size; n++)
            low += record[n];
        return record[size] == 0xCC && record[size + 1] == (low & 0xFF) ? 2 : 0;
    }
    if (left < 5) return -1;
    low = crc32_of(record, size);
    return record[size] == 0xCE && record[size + 1] == low >> 24 && record[size + 2] == (low >> 16 & 0xFF) &&
                   record[size + 3] == (low >> 8 & 0xFF) && record[size + 4] == (low & 0xFF)
               ? 5
               : 0;
}

static int integer(MpReader *r, int64_t *to) {
    MpValue value = mp_next(r);
    *to = (int64_t)value.number;
    return r->sound && ((value.kind == MP_UNSIGNED && value.number <= INT64_MAX) || value.kind == MP_NEGATIVE);
}

static int better(tally_best one, tally_best other) {
    return one.value > other.value || (one.value == other.value && one.number < other.number);
}

/* Keep the largest values, the earliest of equal ones, the best first. */
static void keep(tally_top *top, int64_t value, uint64_t number) {
    tally_best entry;
    unsigned at;
    entry.value = value;
    entry.number = number;
    if (top->count == TALLY_TOP && !better(entry, top->best[TALLY_TOP - 1])) return;
    at = top->count < TALLY_TOP ? top->count++ : TALLY_TOP - 1;
    for (; at > 0 && better(entry, top->best[at - 1]); at--)
        top->best[at] = top->best[at - 1];
    top->best[at] = entry;
}

static void close_run(tally *t) {
    unsigned at;
    if (!t->running) return;
    t->running = 0;
    t->runs++;
    t->complete += t->now.limit > 0 && t->now.end == t->now.limit;
    if (t->longest_count == TALLY_TOP && t->now.calls <= t->longest[TALLY_TOP - 1].calls) return;
    at = t->longest_count < TALLY_TOP ? t->longest_count++ : TALLY_TOP - 1;
    for (; at > 0 && t->now.calls > t->longest[at - 1].calls; at--)
        t->longest[at] = t->longest[at - 1];
    t->longest[at] = t->now;
}

static void report(tally *t, uint64_t number, int64_t time, int64_t index, int64_t limit) {
    tally_run *now = &t->now;
    if (t->running && limit == now->limit && index >= now->end) {
        now->last = number;
        now->end = index;
        now->ended = time;
        now->calls++;
        return;
    }
    close_run(t);
    t->running = 1;
    now->first = now->last = number;
    now->calls = 1;
    now->start = now->end = index;
    now->limit = limit;
    now->begun = now->ended = time;
}

static void count_second(tally *t, int64_t time) {
    int64_t second = time / SECOND - (time % SECOND < 0);
    unsigned place = (unsigned)((uint64_t)second % TALLY_SECONDS);
    if (!t->counts[place] || t->labels[place] != second) {
        t->labels[place] = second;
        t->counts[place] = 0;
    }
    if (++t->counts[place] > t->most || (t->counts[place] == t->most && second < t->busiest)) {
        t->most = t->counts[place];
        t->busiest = second;
    }
}

/* The thread of a record, NULL if there is none. */
static tally_thread *thread_of(tally *t, MpReader *r) {
    int64_t number;
    if (!integer(r, &number) || number < 0 || (uint64_t)number >= t->thread_count) return NULL;
    return t->threads[number].known ? &t->threads[number] : NULL;
}

static int ticks_of(tally *t, MpReader *r, int64_t *time) {
    int64_t ticks;
    if (!integer(r, &ticks) || ticks > FARTHEST / t->tick || ticks < -FARTHEST / t->tick) return 0;
    *time = ticks * t->tick;
    return 1;
}

static int argument(tally *t, tally_slot *slot, unsigned n, MpReader *r, int64_t *number) {
    MpValue value = mp_next(r);
    if (!r->sound) return 0;
    *number = (int64_t)value.number;
    switch (slot->types[n]) {
    case TALLY_INTEGER:
        return (value.kind == MP_UNSIGNED && value.number <= INT64_MAX) || value.kind == MP_NEGATIVE;
    case TALLY_HANDLE:
        return value.kind == MP_UNSIGNED || value.kind == MP_NEGATIVE || value.kind == MP_NIL;
    default:
        if (value.kind == MP_STR || value.kind == MP_BIN)
            return t->text(t->context, value.data, value.size, value.kind == MP_BIN, slot->types[n] == TALLY_TEXT);
        if (value.kind != MP_UNSIGNED || value.number >= TALLY_TEXTS || (value.number && !t->defined[value.number]))
            return 0;
        slot->nulls[n] += value.number == 0;
        t->used[value.number] |= slot->types[n] == TALLY_TEXT;
        return 1;
    }
}

static int enter(tally *t, uint64_t kind, uint64_t fields, MpReader *r) {
    tally_slot *slot;
    tally_thread *thread;
    int64_t step, time, number, index = 0, limit = 0;
    unsigned n;
    if (kind - ENTER >= t->slot_count) return 0;
    slot = &t->slots[kind - ENTER];
    if (fields != 3 + slot->arguments || !ticks_of(t, r, &step)) return 0;
    if (!(thread = thread_of(t, r))) return 0;
    time = thread->clock + step;
    if (time > FARTHEST || time < -FARTHEST) return 0;
    for (n = 0; n < slot->arguments; n++) {
        if (!argument(t, slot, n, r, &number)) return 0;
        if ((int)n == t->index) index = number;
        if ((int)n == t->limit) limit = number;
    }
    if (thread->depth == thread->room) {
        size_t room = thread->room ? 2 * thread->room : 4;
        tally_open *open = realloc(thread->open, room * sizeof *open);
        if (!open) return 0;
        thread->open = open;
        thread->room = room;
    }
    thread->clock = time;
    thread->open[thread->depth].number = t->calls;
    thread->open[thread->depth].slot = (unsigned)(kind - ENTER);
    thread->open[thread->depth++].begun = time;
    if (!t->calls) t->first = t->last = t->end = time;
    keep(&t->gaps, time - t->last, t->calls);
    if (time > t->last) t->last = time;
    if (time > t->end) t->end = time;
    count_second(t, time);
    if ((int)(kind - ENTER) == t->series) report(t, t->calls, time, index, limit);
    thread->calls++;
    slot->calls++;
    t->calls++;
    return 1;
}

static int count_answer(tally *t, unsigned slot, int64_t value) {
    unsigned n;
    for (n = 0; n < t->answer_count; n++)
        if (t->answers[n].slot == slot && t->answers[n].value == value) break;
    if (n == TALLY_ANSWERS) return 0;
    if (n == t->answer_count) {
        t->answers[n].slot = slot;
        t->answers[n].value = value;
        t->answers[n].count = 0;
        t->answer_count++;
    }
    t->answers[n].count++;
    return 1;
}

/* LEAVE and FAIL.  What is more than an integer for an answer, Python looks at. */
static int leave(tally *t, uint64_t kind, uint64_t fields, MpReader *r, const uint8_t *record, size_t size) {
    tally_thread *thread;
    tally_open call;
    int64_t taken, back = 0;
    size_t at;
    int plain = 1, strange = kind == FAIL || fields > 5;
    MpValue value = {MP_UNSIGNED, 0, NULL, 0};
    if (fields < (kind == FAIL ? 7u : 3u) || !ticks_of(t, r, &taken) || !(thread = thread_of(t, r))) return 0;
    if (kind == FAIL) {
        mp_skip(r, 3);
    } else if (fields > 3) {
        value = mp_next(r);
        if (value.kind == MP_OTHER) {
            mp_skip(r, 1);
            strange = 1;
        } else if (value.kind == MP_UNSIGNED && value.number > INT64_MAX) {
            strange = 1;
        } else if (value.kind != MP_UNSIGNED && value.kind != MP_NEGATIVE && value.kind != MP_NIL) {
            return 0;
        }
        plain = value.kind == MP_NIL || value.number == 0;
    }
    if ((kind == FAIL || fields > 4) && (!integer(r, &back) || back < 0)) return 0;
    if (!r->sound || (uint64_t)back >= thread->depth) return 0;
    at = thread->depth - 1 - (size_t)back;
    call = thread->open[at];
    thread->depth--;
    memmove(&thread->open[at], &thread->open[at + 1], (thread->depth - at) * sizeof *thread->open);
    if (call.begun + taken > t->end) t->end = call.begun + taken;
    keep(&t->slowest, taken, call.number);
    t->ended++;
    if (strange) return t->answer(t->context, call.slot, record, size);
    return plain || !t->slots[call.slot].hresult || count_answer(t, call.slot, (int64_t)value.number);
}

/* TEXT, THREAD, and kinds that are skipped: Python keeps what they say. */
static int define(tally *t, uint64_t kind, MpReader *r, const uint8_t *record, size_t size) {
    int64_t number, time;
    if (!t->define(t->context, record, size)) return 0;
    if (kind != TEXT && kind != THREAD) return 1;
    if (!integer(r, &number) || number < 0 || number >= TALLY_TEXTS) return 0;
    if (kind == TEXT) {
        t->defined[number] = 1;
        return 1;
    }
    if (!ticks_of(t, r, &time)) return 0;
    if ((size_t)number >= t->thread_count) {
        size_t count = (size_t)number + 1;
        tally_thread *threads = realloc(t->threads, count * sizeof *threads);
        if (!threads) return 0;
        memset(threads + t->thread_count, 0, (count - t->thread_count) * sizeof *threads);
        t->threads = threads;
        t->thread_count = count;
    }
    t->threads[number].known = 1;
    t->threads[number].clock = time;
    return 1;
}

tally_status tally_feed(tally *t, const uint8_t *data, size_t size, size_t *used) {
    MpReader r, whole;
    MpValue head, kind;
    size_t length;
    int behind, taken;
    for (*used = 0; *used < size; *used += length + (size_t)behind) {
        const uint8_t *record = data + *used;
        if (!*record) return TALLY_ZERO;
        r.at = record;
        r.end = data + size;
        r.sound = 1;
        head = mp_next(&r);
        if (!r.sound) return TALLY_MORE;
        if (head.kind != MP_ARRAY || !head.number || head.number > MAX_FIELDS) return TALLY_STRANGE;
        whole = r;
        mp_skip(&whole, head.number);
        if (!whole.sound) return TALLY_MORE;
        length = (size_t)(whole.at - record);
        behind = check(record, length, size - *used - length);
        if (behind < 0) return TALLY_MORE;
        if (!behind) return TALLY_STRANGE;
        r.end = whole.at;
        kind = mp_next(&r);
        if (kind.kind != MP_UNSIGNED) return TALLY_STRANGE;
        if (kind.number == END) return TALLY_END;
        if (kind.number >= ENTER)
            taken = enter(t, kind.number, head.number, &r);
        else if (kind.number == LEAVE || kind.number == FAIL)
            taken = leave(t, kind.number, head.number, &r, record, length);
        else
            taken = define(t, kind.number, &r, record, length);
        if (!taken) return TALLY_STRANGE;
    }
    return TALLY_MORE;
}

void tally_finish(tally *t) { close_run(t); }
