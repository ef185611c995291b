/* Figures of a trace's records, counted as fast as they can be read: what `recorder.stats` counts, for traces in which
 * every call is as its interface declares it.  Anything else ends the count, and Python begins anew. */
#ifndef SYNCTAPE_TALLY_H
#define SYNCTAPE_TALLY_H

#include <stddef.h>
#include <stdint.h>

enum { TALLY_TOP = 5, TALLY_SLOTS = 1024, TALLY_ARGUMENTS = 16, TALLY_ANSWERS = 64, TALLY_TEXTS = 65536, TALLY_SECONDS = 256 };

typedef enum tally_type { TALLY_INTEGER, TALLY_TEXT, TALLY_IID, TALLY_HANDLE } tally_type;

typedef struct tally_slot {
    unsigned arguments;
    int hresult; /* whether it returns one, so that 0 and nothing are plain answers and others are counted */
    tally_type types[TALLY_ARGUMENTS];
    uint64_t calls, nulls[TALLY_ARGUMENTS];
} tally_slot;

typedef struct tally_best { int64_t value; uint64_t number; } tally_best;

typedef struct tally_top { unsigned count; tally_best best[TALLY_TOP]; } tally_top;

typedef struct tally_run { uint64_t first, last, calls; int64_t start, end, limit, begun, ended; } tally_run;

typedef struct tally_answer { unsigned slot; int64_t value; uint64_t count; } tally_answer;

typedef struct tally_open { uint64_t number; unsigned slot; int64_t begun; } tally_open;

typedef struct tally_thread {
    int known;
    uint64_t calls;
    int64_t clock;
    size_t depth, room;
    tally_open *open;
} tally_thread;

typedef struct tally {
    tally_slot *slots;
    unsigned slot_count;
    int64_t tick;
    int series, index, limit; /* a slot and two of its arguments; -1: none reports a position */
    tally_thread *threads;
    size_t thread_count;
    uint8_t defined[TALLY_TEXTS], used[TALLY_TEXTS];
    uint64_t calls, ended;
    int64_t first, last, end;
    tally_top slowest, gaps;
    int64_t labels[TALLY_SECONDS], busiest;
    uint64_t counts[TALLY_SECONDS], most;
    tally_answer answers[TALLY_ANSWERS];
    unsigned answer_count;
    tally_run now, longest[TALLY_TOP];
    unsigned longest_count;
    uint64_t runs, complete;
    int running; /* whether `now` is one */
    /* What Python looks at; 0: it will not have it. */
    void *context;
    int (*define)(void *context, const uint8_t *record, size_t size);
    int (*text)(void *context, const uint8_t *data, size_t size, int units, int counts);
    int (*answer)(void *context, unsigned slot, const uint8_t *record, size_t size);
} tally;

typedef enum tally_status { TALLY_MORE, TALLY_ZERO, TALLY_END, TALLY_STRANGE } tally_status;

/* Count records; `*used` is how many bytes of whole records were.  ZERO: a zero stands where a record would begin. */
tally_status tally_feed(tally *t, const uint8_t *data, size_t size, size_t *used);

/* The trace has ended. */
void tally_finish(tally *t);

#endif
