#define _GNU_SOURCE
#include "cover.h"

#include <link.h>
#include <string.h>
#include <sys/mman.h>

#define SEEN_BY_ALL __attribute__((visibility("default")))

#define CELLS ((uint32_t)1 << 20)    /* places of guards and of trace-pc */
#define EQUALS ((uint32_t)1 << 16)   /* comparisons */
#define MODULES 256                  /* that count for themselves, and pieces of code */
#define NOTES 1024                   /* operands */
#define NOTES_OF_ONE 8               /* of one comparison */
#define CASES 64                     /* of a switch */
#define MOST_EQUAL 32                /* characters */
#define LATEST 16                    /* places */

/* ---------------------------------------------------------------------------------------------------------- places */

/* Counters of places, and the magnitudes that each has had, as bits. */
typedef struct Counters {
    uint8_t *cells;
    uint8_t *seen;
    size_t size;
} Counters;

static uint8_t cells[CELLS + 8], seen[CELLS + 8]; /* number 0 is of those for which there is no room */
static uint32_t used = 1;
static uintptr_t addresses[CELLS]; /* of the places of trace-pc, by their numbers */
static Counters modules[MODULES];
static uint32_t module_count;
static uint64_t reached;
static const uint8_t *latest[LATEST]; /* counters of places that the last look found new */
static uint32_t latest_count;

static void count(uint32_t place) {
    if (cells[place] != UINT8_MAX)
        cells[place]++;
}

static uint8_t magnitude(uint8_t times) {
    if (times <= 3)
        return (uint8_t)(1u << (times - 1));
    return times < 8 ? 8 : times < 16 ? 16 : times < 32 ? 32 : times < 128 ? 64 : 128;
}

/* How many magnitudes are new; all counters begin anew. */
static uint32_t collect(uint8_t *from, uint8_t *known, size_t size, int keep) {
    uint32_t new = 0;
    size_t at, i;
    for (at = 0; at < size; at += 8) {
        const size_t length = size - at < 8 ? size - at : 8;
        uint64_t word = 0;
        memcpy(&word, from + at, length);
        if (word == 0)
            continue;
        for (i = at; keep && i < at + length; i++) {
            const uint8_t bit = from[i] != 0 ? magnitude(from[i]) : 0;
            if (bit & ~known[i]) {
                if (known[i] == 0) {
                    reached++;
                    if (latest_count < LATEST)
                        latest[latest_count++] = from + i;
                }
                known[i] |= bit;
                new++;
            }
        }
        memset(from + at, 0, length);
    }
    return new;
}

static void *zeros(size_t size) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* Counters that a module has for itself. */
static void add_module(uint8_t *start, uint8_t *stop) {
    Counters *module = &modules[module_count];
    uint32_t i;
    if (start >= stop || module_count == MODULES)
        return;
    for (i = 0; i < module_count; i++) {
        if (modules[i].cells == start)
            return;
    }
    module->seen = zeros((size_t)(stop - start));
    module->cells = start;
    module->size = (size_t)(stop - start);
    module_count += module->seen != NULL;
}

/* ----------------------------------------------------------------------------------------- places that are addresses */

/* A piece of code: the numbers of its addresses, 0 for none. */
typedef struct Code {
    uintptr_t low, high;
    uint32_t *numbers;
} Code;

static Code codes[MODULES];
static uint32_t code_count;
static char adding;

static int find_code(struct dl_phdr_info *info, size_t size, void *found) {
    Code *code = found;
    int i;
    (void)size;
    for (i = 0; i < info->dlpi_phnum; i++) {
        const uintptr_t low = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, high = low + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && low <= code->low && code->low < high) {
            code->low = low;
            code->high = high;
            return 1;
        }
    }
    return 0;
}

/* The piece that an address is in; NULL if it is in no library, or there is no room. */
static Code *add_code(uintptr_t address) {
    Code *code = NULL;
    uint32_t i;
    while (__atomic_test_and_set(&adding, __ATOMIC_ACQUIRE)) {
    }
    for (i = 0; i < code_count && code == NULL; i++) {
        if (address >= codes[i].low && address < codes[i].high)
            code = &codes[i];
    }
    if (code == NULL && code_count < MODULES) {
        Code added = {address, address, NULL};
        if (dl_iterate_phdr(find_code, &added) == 1 &&
            (added.numbers = zeros((added.high - added.low) * sizeof *added.numbers)) != NULL) {
            code = &codes[code_count];
            *code = added;
            __atomic_store_n(&code_count, code_count + 1, __ATOMIC_RELEASE);
        }
    }
    __atomic_clear(&adding, __ATOMIC_RELEASE);
    return code;
}

/* The number of an address, from 1 up in the order in which they come; 0 if there is none left. */
static uint32_t number_of(uintptr_t address, uint32_t *next, uint32_t most) {
    const uint32_t count = __atomic_load_n(&code_count, __ATOMIC_ACQUIRE);
    Code *code = NULL;
    uint32_t i, *number;
    for (i = 0; i < count && code == NULL; i++) {
        if (address >= codes[i].low && address < codes[i].high)
            code = &codes[i];
    }
    if (code == NULL && (code = add_code(address)) == NULL)
        return 0;
    number = &code->numbers[address - code->low];
    if (*number == 0) {
        const uint32_t given = __atomic_load_n(next, __ATOMIC_RELAXED) < most ? __atomic_fetch_add(next, 1, __ATOMIC_RELAXED) : 0;
        *number = given < most ? given : 0;
        if (next == &used && *number != 0)
            addresses[*number] = address;
    }
    return *number;
}

/* ----------------------------------------------------------------------------------------------------- comparisons */

static uint8_t equal[EQUALS], most_equal[EQUALS], noted[EQUALS];
static uint32_t comparisons = 1;
static int watching;
static SynOperands notes[NOTES];
static uint32_t note_count;

static void note(uint64_t one, uint64_t other, uint64_t size) {
    uint32_t i, at;
    const uint32_t count = note_count < NOTES ? note_count : NOTES;
    for (i = count; i > 0 && i + 64 > count; i--) { /* what a loop compares comes again soon */
        if (notes[i - 1].one == one && notes[i - 1].other == other && notes[i - 1].size == size)
            return;
    }
    at = __atomic_fetch_add(&note_count, 1, __ATOMIC_RELAXED);
    if (at < NOTES) {
        notes[at].one = one;
        notes[at].other = other;
        notes[at].size = size;
    }
}

static void compared(uintptr_t where, uint64_t one, uint64_t other, uint64_t size) {
    uint32_t number;
    if (one != other && !watching)
        return;
    number = number_of(where, &comparisons, EQUALS);
    if (one != other) {
        if (noted[number] < NOTES_OF_ONE) {
            noted[number]++;
            note(one, other, size);
        }
    } else if (one >= ' ' && one <= UINT16_MAX) { /* texts grow in common, character by character */
        if (equal[number] < MOST_EQUAL)
            equal[number]++;
    } else if (equal[number] == 0) {
        equal[number] = 1;
    }
}

static uint32_t collect_equal(int keep) {
    const uint32_t count = comparisons < EQUALS ? comparisons : EQUALS;
    uint32_t new = 0, i;
    for (i = 1; i < count; i++) {
        if (keep && equal[i] > most_equal[i]) {
            most_equal[i] = equal[i];
            new++;
        }
    }
    memset(equal, 0, count);
    return new;
}

/* --------------------------------------------------------------------------------------------------- what is asked */

static uint32_t collect_all(int keep) {
    const uint32_t count = used < CELLS ? used : CELLS;
    const uint64_t before = reached;
    uint32_t new, places, i;
    if (keep)
        latest_count = 0;
    cells[0] = 0;
    new = collect(cells, seen, count, keep) + collect_equal(keep);
    for (i = 0; i < module_count; i++)
        new += collect(modules[i].cells, modules[i].seen, modules[i].size, keep);
    places = (uint32_t)(reached - before);
    return (new < UINT16_MAX ? new : UINT16_MAX) | (places < UINT16_MAX ? places : UINT16_MAX) << 16;
}

SEEN_BY_ALL uint32_t syn_cover_collect(void) {
    return collect_all(1);
}

SEEN_BY_ALL void syn_cover_forget(void) {
    collect_all(0);
}

/* Counters as places of one piece, from which all begin anew. */
static uint32_t take(uint64_t piece, uint8_t *from, size_t size, uint64_t *to, uint32_t room) {
    uint32_t count = 0;
    size_t at;
    for (at = 0; at < size; at++) {
        if (from[at] != 0 && count < room)
            to[count++] = piece << 48 | (uint64_t)at << 8 | magnitude(from[at]);
        from[at] = 0;
    }
    return count;
}

/* What a place's number does not say of those of trace-pc, which get theirs as they come: the piece and where in it. */
static uint64_t by_address(uint64_t place) {
    const uintptr_t address = addresses[place >> 8];
    uint32_t i;
    for (i = 0; address != 0 && i < code_count; i++) {
        if (address >= codes[i].low && address < codes[i].high)
            return (uint64_t)(MODULES + 1 + i) << 48 | (uint64_t)(address - codes[i].low) << 8 | (place & 0xff);
    }
    return place;
}

SEEN_BY_ALL uint32_t syn_cover_places(uint64_t *to, uint32_t room) {
    uint32_t count, i;
    cells[0] = 0;
    count = take(0, cells, used < CELLS ? used : CELLS, to, room);
    for (i = 0; i < count; i++)
        to[i] = by_address(to[i]);
    for (i = 0; i < module_count; i++)
        count += take(1 + i, modules[i].cells, modules[i].size, to + count, room - count);
    collect_equal(0);
    return count;
}

SEEN_BY_ALL int syn_cover_shows(void) {
    uint32_t i;
    int all = 1;
    for (i = 0; i < latest_count; i++)
        all = all && *latest[i] != 0;
    collect_all(0);
    return all;
}

SEEN_BY_ALL void syn_cover_sites(uint64_t *found, uint64_t *known) {
    uint32_t i;
    *found = reached;
    *known = (used < CELLS ? used : CELLS) - 1;
    for (i = 0; i < module_count; i++)
        *known += modules[i].size;
}

SEEN_BY_ALL void syn_cover_watch(int on) {
    watching = on;
    note_count = 0;
    memset(noted, 0, sizeof noted);
}

SEEN_BY_ALL uint32_t syn_cover_operands(SynOperands *to, uint32_t room) {
    uint32_t count = note_count < NOTES ? note_count : NOTES;
    if (count > room)
        count = room;
    memcpy(to, notes, count * sizeof *to);
    note_count = 0;
    memset(noted, 0, sizeof noted);
    return count;
}

/* ------------------------------------------------------------------------------------- what instrumented code calls */

#define CALLER ((uintptr_t)__builtin_return_address(0))

SEEN_BY_ALL void __sanitizer_cov_trace_pc_guard_init(uint32_t *start, uint32_t *stop);
SEEN_BY_ALL void __sanitizer_cov_trace_pc_guard(uint32_t *guard);
SEEN_BY_ALL void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *stop);
SEEN_BY_ALL void __sanitizer_cov_bool_flag_init(uint8_t *start, uint8_t *stop);
SEEN_BY_ALL void __sanitizer_cov_pcs_init(const uintptr_t *start, const uintptr_t *stop);
SEEN_BY_ALL void __sanitizer_cov_trace_pc(void);
SEEN_BY_ALL void __sanitizer_cov_trace_pc_indir(uintptr_t callee);
SEEN_BY_ALL void __sanitizer_cov_trace_switch(uint64_t value, uint64_t *cases);
SEEN_BY_ALL void __sanitizer_cov_trace_div4(uint32_t value);
SEEN_BY_ALL void __sanitizer_cov_trace_div8(uint64_t value);
SEEN_BY_ALL void __sanitizer_cov_trace_gep(uintptr_t index);

/* Code built for libFuzzer notes its deepest stack here. */
extern SEEN_BY_ALL __thread uintptr_t __sancov_lowest_stack;
__thread uintptr_t __sancov_lowest_stack __attribute__((tls_model("initial-exec")));

void __sanitizer_cov_trace_pc_guard_init(uint32_t *start, uint32_t *stop) {
    if (start == stop || *start != 0)
        return;
    for (; start < stop; start++)
        *start = used < CELLS ? used++ : 0;
}

void __sanitizer_cov_trace_pc_guard(uint32_t *guard) {
    count(*guard);
}

void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *stop) {
    add_module(start, stop);
}

void __sanitizer_cov_bool_flag_init(uint8_t *start, uint8_t *stop) {
    add_module(start, stop);
}

void __sanitizer_cov_pcs_init(const uintptr_t *start, const uintptr_t *stop) {
    (void)start, (void)stop;
}

void __sanitizer_cov_trace_pc(void) {
    count(number_of(CALLER, &used, CELLS));
}

void __sanitizer_cov_trace_pc_indir(uintptr_t callee) {
    (void)callee;
}

void __sanitizer_cov_trace_switch(uint64_t value, uint64_t *cases) {
    uint64_t i;
    if (!watching)
        return;
    for (i = 0; i < cases[0] && i < CASES; i++) {
        if (cases[2 + i] != value)
            note(value, cases[2 + i], cases[1] / 8);
    }
}

void __sanitizer_cov_trace_div4(uint32_t value) {
    (void)value;
}

void __sanitizer_cov_trace_div8(uint64_t value) {
    (void)value;
}

void __sanitizer_cov_trace_gep(uintptr_t index) {
    (void)index;
}

#define COMPARISON(name, type)                                     \
    SEEN_BY_ALL void __sanitizer_cov_trace_##name(type a, type b); \
    void __sanitizer_cov_trace_##name(type a, type b) {            \
        compared(CALLER, a, b, sizeof a);                          \
    }

COMPARISON(cmp1, uint8_t)
COMPARISON(cmp2, uint16_t)
COMPARISON(cmp4, uint32_t)
COMPARISON(cmp8, uint64_t)
COMPARISON(const_cmp1, uint8_t)
COMPARISON(const_cmp2, uint16_t)
COMPARISON(const_cmp4, uint32_t)
COMPARISON(const_cmp8, uint64_t)

/* ------------------------------------------------------------------------------------------------------------------ */

/* What builds extensions of Python exports this; nobody imports the library. */
SEEN_BY_ALL void *PyInit_cover(void);
void *PyInit_cover(void) {
    return NULL;
}
