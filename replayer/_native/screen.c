#ifndef _WIN32
#define _POSIX_C_SOURCE 200809L
#endif
#include "screen.h"

#include "../../recorder/_native/msgpack.h"

#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#endif

enum Phase { PHASE_CALLS = 0, PHASE_MAKING = 2, PHASE_ENDING = 3 }; /* replayer/player.py */

#define HEAD 16          /* bytes of a list before its first entry */
#define LENGTH 4         /* bytes of an entry's length */
#define SHORTEST_ENTER 6 /* bytes, with its check */
#define FIRST_ENTER 16   /* kind of a record */
#define TRIMS 40         /* plays that make a sequence shorter */
#define FEWEST_CALLS 4   /* that are left: others than those of what is new are what mutators build on */
#define QUERY_INTERFACE 0
#define RELEASE 2

/* ------------------------------------------------------------------------------------------------------ handles */

enum Fate { OPEN, PLANTED, TAKEN }; /* as given; closed and planted a stranger; closed and taken by the target's own */

#ifdef _WIN32

#define TRIES 16

typedef struct Handles {
    SynHandle table[SYN_SYMBOLS];
    enum Fate fate[SYN_SYMBOLS];
    HANDLE second[SYN_SYMBOLS]; /* another handle of what the value stands for: others may take a closed value */
} Handles;

typedef BOOL(WINAPI *Compare)(HANDLE, HANDLE);

/* CompareObjectHandles, NULL before Windows 10. */
static Compare comparison(void) {
    static Compare found;
    static int looked;
    if (!looked) {
        const HMODULE library = GetModuleHandleW(L"kernelbase.dll");
        const FARPROC function = library != NULL ? GetProcAddress(library, "CompareObjectHandles") : NULL;
        memcpy(&found, &function, sizeof found);
        looked = 1;
    }
    return found;
}

static int is_open(const Handles *handles, unsigned n) {
    const HANDLE value = (HANDLE)(uintptr_t)handles->table[n].value;
    const Compare compare = comparison();
    DWORD flags;
    if (compare == NULL)
        return GetHandleInformation(value, &flags) != 0;
    return handles->second[n] != NULL && compare(value, handles->second[n]);
}

static void stands_for(Handles *handles, unsigned n, HANDLE event) {
    const HANDLE process = GetCurrentProcess(), before = handles->second[n];
    handles->second[n] = NULL;
    if (event != NULL)
        DuplicateHandle(process, event, process, &handles->second[n], 0, FALSE, DUPLICATE_SAME_ACCESS);
    if (before != NULL)
        CloseHandle(before);
}

static int open_handle(Handles *handles, unsigned n) {
    HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
    handles->table[n].value = (uint64_t)(uintptr_t)event;
    handles->fate[n] = OPEN;
    stands_for(handles, n, event);
    return event != NULL ? 0 : -1;
}

/* A closed value is given out again by one of the next CreateEvents, mostly. */
static void look(Handles *handles, unsigned n) {
    HANDLE spare[TRIES];
    unsigned count = 0;
    const HANDLE value = (HANDLE)(uintptr_t)handles->table[n].value;
    if (handles->fate[n] != OPEN || is_open(handles, n))
        return;
    handles->fate[n] = TAKEN;
    while (count < TRIES && handles->fate[n] == TAKEN) {
        HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
        if (event == value) {
            handles->fate[n] = PLANTED;
            stands_for(handles, n, event);
        } else {
            spare[count++] = event;
        }
    }
    while (count > 0)
        CloseHandle(spare[--count]);
}

static int stranger_lost(Handles *handles, unsigned n) {
    return !is_open(handles, n);
}

static int reopen_handle(Handles *handles, unsigned n) {
    if (handles->fate[n] == PLANTED && !stranger_lost(handles, n)) {
        handles->fate[n] = OPEN; /* the stranger is an event as good as any */
        return 0;
    }
    return open_handle(handles, n);
}

static int open_handles(Handles *handles) {
    unsigned n;
    for (n = 0; n < SYN_SYMBOLS; n++) {
        handles->table[n].symbol = n;
        if (open_handle(handles, n) != 0)
            return -1;
    }
    return 0;
}

static void close_handles(Handles *handles) {
    unsigned n;
    for (n = 0; n < SYN_SYMBOLS; n++) {
        if (handles->table[n].value != 0 && handles->fate[n] == OPEN && is_open(handles, n))
            CloseHandle((HANDLE)(uintptr_t)handles->table[n].value);
        stands_for(handles, n, NULL);
    }
}

static uint64_t now_ns(void) {
    LARGE_INTEGER frequency, count;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&count);
    return (uint64_t)((double)count.QuadPart * 1e9 / (double)frequency.QuadPart);
}

#else

typedef struct Handles {
    SynHandle table[SYN_SYMBOLS];
    enum Fate fate[SYN_SYMBOLS];
    int ends[4]; /* of the pipe that all handles stand for, then of the one that strangers stand for */
    struct stat ours, strangers;
} Handles;

static int same(const struct stat *one, int descriptor) {
    struct stat found;
    return fstat(descriptor, &found) == 0 && found.st_dev == one->st_dev && found.st_ino == one->st_ino;
}

static int open_handle(Handles *handles, unsigned n) {
    const int descriptor = dup(handles->ends[0]);
    handles->table[n].value = descriptor < 0 ? 0 : (uint64_t)descriptor;
    handles->fate[n] = OPEN;
    return descriptor < 0 ? -1 : 0;
}

static void look(Handles *handles, unsigned n) {
    const int descriptor = (int)handles->table[n].value;
    struct stat found;
    if (handles->fate[n] != OPEN)
        return;
    if (fstat(descriptor, &found) != 0)
        handles->fate[n] = dup2(handles->ends[2], descriptor) == descriptor ? PLANTED : TAKEN;
    else if (found.st_dev != handles->ours.st_dev || found.st_ino != handles->ours.st_ino)
        handles->fate[n] = TAKEN;
}

static int stranger_lost(Handles *handles, unsigned n) {
    return !same(&handles->strangers, (int)handles->table[n].value);
}

/* Have a handle that was closed open for the next sequence; what the target has put in its place is not ours. */
static int reopen_handle(Handles *handles, unsigned n) {
    const int descriptor = (int)handles->table[n].value;
    if (handles->fate[n] == PLANTED && !stranger_lost(handles, n) && dup2(handles->ends[0], descriptor) == descriptor) {
        handles->fate[n] = OPEN;
        return 0;
    }
    return open_handle(handles, n);
}

static int open_handles(Handles *handles) {
    unsigned n;
    for (n = 0; n < 4; n++)
        handles->ends[n] = -1;
    if (pipe(handles->ends) != 0 || pipe(handles->ends + 2) != 0 || fstat(handles->ends[0], &handles->ours) != 0 ||
        fstat(handles->ends[2], &handles->strangers) != 0)
        return -1;
    for (n = 0; n < SYN_SYMBOLS; n++) {
        handles->table[n].symbol = n;
        if (open_handle(handles, n) != 0)
            return -1;
    }
    return 0;
}

static void close_handles(Handles *handles) {
    unsigned n;
    for (n = 0; n < SYN_SYMBOLS; n++) {
        if (handles->table[n].value != 0 && same(&handles->ours, (int)handles->table[n].value))
            close((int)handles->table[n].value);
    }
    for (n = 0; n < 4; n++) {
        if (handles->ends[n] >= 0)
            close(handles->ends[n]);
    }
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif

/* After a call: which of the handles that were given are closed. */
static void look_at(Handles *handles, uint64_t given) {
    unsigned n;
    for (n = 0; given != 0; n++, given >>= 1) {
        if (given & 1)
            look(handles, n);
    }
}

/* At the end: what is to be said of the handles that were given, and all of them open again. */
static int settle(Handles *handles, uint64_t given, uint64_t owned, SynScreened *result) {
    unsigned n;
    for (n = 0; given != 0; n++, given >>= 1) {
        if (!(given & 1))
            continue;
        if (handles->fate[n] == OPEN)
            result->left_open |= (uint32_t)(owned & (uint64_t)1 << n);
        else if (handles->fate[n] == PLANTED && stranger_lost(handles, n))
            result->closed_twice |= 1u << n;
        if (handles->fate[n] != OPEN && reopen_handle(handles, n) != 0)
            return -1;
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------------------- lists */

static uint64_t number_at(const uint8_t *at, unsigned bytes) {
    uint64_t number = 0;
    while (bytes-- > 0)
        number = number << 8 | at[bytes];
    return number;
}

static void put_number(uint8_t *at, uint64_t number, unsigned bytes) {
    for (; bytes-- > 0; number >>= 8)
        *at++ = (uint8_t)number;
}

/* Append a result that there is room for; it is there when the count says so. */
static void append(uint8_t *list, const SynScreened *result, const int64_t *values, const SynOperands *operands,
                   const uint16_t *needed) {
    const uint64_t count = number_at(list, 8), end = number_at(list + 8, 8);
    const size_t answers = result->made * sizeof *values, compared = result->compared * sizeof *operands;
    const size_t numbers = result->needed * sizeof *needed, size = sizeof *result + answers + compared + numbers;
    uint8_t *to = list + end;
    put_number(to, size, LENGTH);
    memcpy(to + LENGTH, result, sizeof *result);
    memcpy(to + LENGTH + sizeof *result, values, answers);
    memcpy(to + LENGTH + sizeof *result + answers, operands, compared);
    memcpy(to + LENGTH + sizeof *result + answers + compared, needed, numbers);
    put_number(list + 8, end + LENGTH + size, 8);
    put_number(list, count + 1, 8);
}

/* --------------------------------------------------------------------------------------------------------- novelty */

#define FEATURES 8192      /* slots of the table, of which half are filled at most */
#define MOST_OF_A_KIND 1500
#define ANSWERS 24         /* of one method that are told apart */
#define ANOTHER_ANSWER INT64_MAX
#define NEW_STATES 8       /* of one sequence that are remembered */

enum Kind { KIND_NONE, KIND_ANSWER, KIND_PAIR, KIND_STATE, KINDS };

typedef struct Features {
    uint64_t known[FEATURES]; /* 0 where there is none */
    uint32_t count[KINDS];
    uint8_t answers[SYN_MAX_SLOTS];
} Features;

static uint64_t mixed(uint64_t a, uint64_t b) { /* the finaliser of splitmix64 over both */
    uint64_t x = a * 0x9E3779B97F4A7C15u + b;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* Where a feature is, or goes. */
static uint64_t *place_of(Features *features, uint64_t feature) {
    uint32_t at = (uint32_t)feature % FEATURES;
    while (features->known[at] != 0 && features->known[at] != feature)
        at = (at + 1) % FEATURES;
    return &features->known[at];
}

/* Whether it is new, and taken in. */
static uint32_t is_new(Features *features, enum Kind kind, uint64_t value) {
    const uint64_t feature = mixed(value, (uint64_t)kind) | 1;
    uint64_t *place = place_of(features, feature);
    if (*place != 0 || features->count[kind] >= (kind == KIND_ANSWER ? FEATURES / 8 : MOST_OF_A_KIND))
        return 0;
    *place = feature;
    features->count[kind]++;
    return 1;
}

/* An answer, or one for all those that are too many to tell apart. */
static int64_t told_apart(Features *features, uint32_t slot, int64_t answer) {
    const uint64_t feature = mixed(mixed(slot, (uint64_t)answer), KIND_ANSWER) | 1;
    if (*place_of(features, feature) != 0)
        return answer;
    if (features->answers[slot] == ANSWERS || !is_new(features, KIND_ANSWER, mixed(slot, (uint64_t)answer)))
        return ANOTHER_ANSWER;
    features->answers[slot]++;
    return answer;
}

/* How many pairs of calls, and states, are new. */
static uint32_t new_features(Features *features, const uint32_t *slots, const int64_t *values, const uint64_t *states,
                             size_t calls, uint64_t *new_states, uint32_t *new_state_count) {
    uint64_t before = 0;
    uint32_t new = 0;
    size_t n;
    for (n = 0; n < calls; n++) {
        const uint64_t call = mixed(slots[n] + 1u, (uint64_t)told_apart(features, slots[n], values[n]));
        new += is_new(features, KIND_PAIR, mixed(before, call));
        before = call;
        if (states != NULL && (n == 0 || states[n] != states[n - 1]) && is_new(features, KIND_STATE, states[n])) {
            if (*new_state_count < NEW_STATES)
                new_states[*new_state_count] = states[n];
            ++*new_state_count;
        }
    }
    return new;
}

/* -------------------------------------------------------------------------------------------------------- screen */

struct SynScreen {
    SynFactory factory;
    SynCover cover;
    SynState state;
    uint8_t iid[16];
    uint8_t terminal[SYN_MAX_SLOTS];
    int64_t *values, *spare;
    uint32_t *slots;
    uint64_t *states;
    size_t capacity; /* of these */
    Handles handles;
    SynOperands operands[SYN_MAX_OPERANDS];
    int trying; /* what is played is nothing to learn from */
    uint64_t new_states[NEW_STATES];
    uint32_t new_state_count;
    uint8_t *shorter; /* a sequence with fewer calls */
    size_t shorter_room;
    uint32_t starts[SYN_MAX_TRIMMED + 1]; /* of its calls, in the whole one */
    uint16_t needed[SYN_MAX_TRIMMED];
    Features features;
};

SynScreen *syn_screen_new(SynFactory factory, const uint8_t *iid, const uint8_t *terminal, size_t slots,
                          const SynCover *cover, SynState state) {
    SynScreen *screen = calloc(1, sizeof *screen);
    if (screen == NULL)
        return NULL;
    screen->factory = factory;
    memcpy(screen->terminal, terminal, slots < SYN_MAX_SLOTS ? slots : SYN_MAX_SLOTS);
    if (cover != NULL)
        screen->cover = *cover;
    screen->state = state;
    memcpy(screen->iid, iid, sizeof screen->iid);
    if (open_handles(&screen->handles) != 0) {
        syn_screen_free(screen);
        return NULL;
    }
    return screen;
}

static void free_room(SynScreen *screen) {
    free(screen->values);
    free(screen->spare);
    free(screen->slots);
    free(screen->states);
    screen->capacity = 0;
}

void syn_screen_free(SynScreen *screen) {
    if (screen == NULL)
        return;
    close_handles(&screen->handles);
    free_room(screen);
    free(screen->shorter);
    free(screen);
}

static void release(void *object) {
    syn_call(syn_entry(object, RELEASE), object, NULL, 0);
}

/* An object that speaks the interface; NULL and the answer if there is none. */
static void *made(const SynScreen *screen, int32_t *answer) {
    void *first = NULL, *object = NULL;
    SynWord words[2];
    *answer = screen->factory(&first);
    if (*answer < 0 || first == NULL)
        return NULL;
    words[0] = (SynWord)(uintptr_t)screen->iid;
    words[1] = (SynWord)(uintptr_t)&object;
    *answer = (int32_t)(uint32_t)syn_call(syn_entry(first, QUERY_INTERFACE), first, words, 2);
    release(first);
    return *answer < 0 ? NULL : object;
}

static uint32_t is_odd(const SynScreened *result, const int64_t *values, uint64_t slow) {
    uint32_t n;
    int64_t signs = 0;
    for (n = 0; n < result->made; n++)
        signs |= values[n];
    return signs < 0 || result->status != SYN_DONE || result->released != 0 || result->left_open != 0 ||
           result->closed_twice != 0 || (slow != 0 && result->elapsed >= slow);
}

/* Have room for the answers of a sequence of so many bytes. */
static int make_room(SynScreen *screen, size_t bytes) {
    const size_t most = bytes / SHORTEST_ENTER + 1;
    if (screen->capacity >= most)
        return 0;
    free_room(screen);
    screen->values = malloc(2 * most * sizeof *screen->values);
    screen->spare = malloc(2 * most * sizeof *screen->spare);
    screen->slots = malloc(2 * most * sizeof *screen->slots);
    screen->states = malloc(2 * most * sizeof *screen->states);
    if (screen->values == NULL || screen->spare == NULL || screen->slots == NULL || screen->states == NULL)
        return -1;
    screen->capacity = 2 * most;
    return 0;
}

static uint16_t at_most(uint32_t number) {
    return (uint16_t)(number < UINT16_MAX ? number : UINT16_MAX);
}

static void look_for_news(SynScreen *screen, size_t calls, SynScreened *result) {
    uint32_t states = 0, code = 0, pairs;
    if (screen->trying)
        return;
    screen->new_state_count = 0;
    pairs = new_features(&screen->features, screen->slots, screen->values, screen->state != NULL ? screen->states : NULL,
                         calls, screen->new_states, &states);
    screen->new_state_count = states < NEW_STATES ? states : NEW_STATES;
    if (screen->cover.collect != NULL)
        code = screen->cover.collect();
    result->fresh = at_most(pairs + states + (code & UINT16_MAX));
    result->places = at_most(states + (code >> 16) + (screen->cover.collect == NULL ? pairs : 0));
}

/* Which of these calls ends the protocol, counted from 1; 0 if none does. */
static int has_ended(const SynScreen *screen, const uint32_t *slots, size_t calls) {
    size_t n;
    for (n = 0; n < calls; n++) {
        if (screen->terminal[slots[n]])
            return (int)n + 1;
    }
    return 0;
}

/* Play a sequence. */
static SynScreenStatus play_once(SynScreen *screen, SynBatch *batch, const uint8_t *stream, size_t size,
                                 SynScreened *result) {
    SynPlay play;
    SynStatus status = SYN_STOPPED;
    size_t calls = 0, read = 0;
    uint64_t owned = 0;
    int ended = 0;
    const uint64_t started = now_ns();
    memset(result, 0, sizeof *result);
    memset(&play, 0, sizeof play);
    batch->journal[1] = batch->number << 32;
    batch->journal[0] = PHASE_MAKING;
    play.object = made(screen, &batch->answer);
    if (play.object == NULL)
        return SYN_REFUSED;
    play.references = 1;
    play.handles = screen->handles.table;
    play.handle_count = SYN_SYMBOLS;
    play.journal = batch->journal + 1;
    play.journal_base = batch->number << 32;
    play.stop_at_handles = 1;
    play.state = screen->state;
    batch->journal[0] = PHASE_CALLS;
    while (status == SYN_STOPPED) {
        play.stream = stream + read;
        play.size = size - read;
        play.first = calls;
        play.values = screen->values + calls;
        play.slots = screen->slots + calls;
        play.states = screen->state != NULL ? screen->states + calls : NULL;
        play.capacity = screen->capacity - calls;
        status = syn_play(batch->player, &play);
        if (!ended) { /* only the last one of these was given a handle, if any was */
            const uint64_t before = owned;
            owned = play.given;
            if ((ended = has_ended(screen, play.slots, play.made)) != 0 && ended < (int)play.made)
                owned = before;
        }
        calls += play.made;
        read += play.read;
        look_at(&screen->handles, play.given);
    }
    batch->journal[0] = PHASE_ENDING;
    result->released = syn_play_release(&play);
    look_at(&screen->handles, play.given);
    if (settle(&screen->handles, play.given, owned, result) != 0)
        return SYN_NO_RESOURCES;
    result->made = (uint32_t)calls;
    result->status = (uint32_t)status;
    result->elapsed = now_ns() - started;
    result->odd = is_odd(result, screen->values, batch->slow);
    look_for_news(screen, calls, result);
    return SYN_SCREENED;
}

/* Where calls begin; how many there are, 0 if it is too many or not to be read. */
static uint32_t find_calls(SynScreen *screen, const uint8_t *stream, size_t size) {
    MpReader r = {stream, stream + size, 1};
    uint32_t count = 0;
    while (r.at < r.end) {
        const size_t at = (size_t)(r.at - stream);
        const MpValue array = mp_next(&r), kind = mp_next(&r);
        if (array.kind != MP_ARRAY || array.number < 1 || kind.kind != MP_UNSIGNED)
            return 0;
        mp_skip(&r, array.number); /* and its check */
        if (!r.sound || (kind.number < FIRST_ENTER && count > 0) || count == SYN_MAX_TRIMMED)
            return 0;
        if (kind.number >= FIRST_ENTER)
            screen->starts[count++] = (uint32_t)at;
    }
    screen->starts[count] = (uint32_t)size;
    return count;
}

/* The sequence with these calls only; its size, 0 if there is no memory. */
static size_t shortened(SynScreen *screen, const uint8_t *stream, size_t size, const uint16_t *calls, uint32_t count) {
    size_t at = screen->starts[0];
    uint32_t n;
    if (screen->shorter_room < size) {
        free(screen->shorter);
        screen->shorter = malloc(size);
        screen->shorter_room = screen->shorter != NULL ? size : 0;
        if (screen->shorter == NULL)
            return 0;
    }
    memcpy(screen->shorter, stream, at);
    for (n = 0; n < count; n++) {
        const uint32_t start = screen->starts[calls[n]], length = screen->starts[calls[n] + 1] - start;
        memcpy(screen->shorter + at, stream + start, length);
        at += length;
    }
    return at;
}

/* Whether the sequence just played has the places and states that made a longer one new. */
static int shows(const SynScreen *screen, uint32_t made) {
    uint32_t n, call;
    int all = screen->cover.shows == NULL || screen->cover.shows();
    for (n = 0; n < screen->new_state_count && all; n++) {
        for (call = 0; call < made && screen->states[call] != screen->new_states[n];)
            call++;
        all = call < made;
    }
    return all;
}

/* Find calls that a sequence does not need for what is new in it: `result->needed` of them are left. */
static SynScreenStatus trim(SynScreen *screen, SynBatch *batch, const uint8_t *stream, size_t size, SynScreened *result) {
    uint16_t fewer[SYN_MAX_TRIMMED];
    uint32_t count = find_calls(screen, stream, size), step, tries = TRIMS, n;
    const uint32_t all = count;
    if (count <= FEWEST_CALLS || result->status != SYN_DONE)
        return SYN_SCREENED;
    for (n = 0; n < count; n++)
        screen->needed[n] = (uint16_t)n;
    for (step = count / 2; step > 0 && tries > 0; step /= 2) {
        uint32_t end = count;
        while (end > 0 && tries > 0 && count > FEWEST_CALLS) {
            const uint32_t start = end > step ? end - step : 0, left = count - (end - start);
            SynScreened again;
            SynScreenStatus status;
            size_t length;
            memcpy(fewer, screen->needed, start * sizeof *fewer);
            memcpy(fewer + start, screen->needed + end, (count - end) * sizeof *fewer);
            if (left == 0 || (length = shortened(screen, stream, size, fewer, left)) == 0)
                break;
            tries--;
            status = play_once(screen, batch, screen->shorter, length, &again);
            if (status != SYN_SCREENED)
                return status;
            if (shows(screen, again.made)) {
                memcpy(screen->needed, fewer, left * sizeof *fewer);
                count = left;
            }
            end = start;
        }
    }
    if (count < all)
        result->needed = count;
    return SYN_SCREENED;
}

/* What there is to know of a sequence that shows something new. */
static SynScreenStatus look_closely(SynScreen *screen, SynBatch *batch, const uint8_t *stream, size_t size,
                                    SynScreened *result) {
    int64_t *const values = screen->values;
    SynScreenStatus status = SYN_SCREENED;
    SynScreened again;
    screen->values = screen->spare; /* the answers are those of the first time */
    screen->trying = 1;
    if (result->places > 0 && (screen->cover.shows != NULL || screen->new_state_count > 0))
        status = trim(screen, batch, stream, size, result);
    if (status == SYN_SCREENED && screen->cover.watch != NULL) {
        if (result->needed > 0) {
            size = shortened(screen, stream, size, screen->needed, result->needed);
            stream = screen->shorter;
        }
        screen->cover.watch(1);
        status = play_once(screen, batch, stream, size, &again);
        result->compared = screen->cover.operands(screen->operands, SYN_MAX_OPERANDS);
        screen->cover.watch(0);
        screen->cover.shows();
    }
    screen->trying = 0;
    screen->values = values;
    return status;
}

static SynScreenStatus play_one(SynScreen *screen, SynBatch *batch, const uint8_t *stream, size_t size) {
    SynScreened result;
    SynScreenStatus status = play_once(screen, batch, stream, size, &result);
    if (status == SYN_SCREENED && result.fresh != 0)
        status = look_closely(screen, batch, stream, size, &result);
    if (status == SYN_SCREENED)
        append(batch->results, &result, screen->values, screen->operands, screen->needed);
    return status;
}

SynScreenStatus syn_screen(SynScreen *screen, SynBatch *batch) {
    const uint8_t *list = batch->sequences;
    uint64_t count, end, at = HEAD, number;
    if (batch->sequences_size < HEAD || batch->results_size < HEAD)
        return SYN_NO_LIST;
    count = number_at(list, 8);
    end = number_at(list + 8, 8);
    if (end > batch->sequences_size)
        return SYN_NO_LIST;
    for (number = 0; number < count && number < batch->stop; number++) {
        SynScreenStatus status;
        uint64_t size;
        if (at > end || end - at < LENGTH || (size = number_at(list + at, LENGTH)) > end - at - LENGTH)
            return SYN_NO_LIST;
        at += LENGTH + size;
        if (number < batch->number)
            continue;
        if (make_room(screen, (size_t)size) != 0)
            return SYN_NO_RESOURCES;
        batch->needed = (size_t)number_at(batch->results + 8, 8) + LENGTH + sizeof(SynScreened) +
                        ((size_t)size / SHORTEST_ENTER + 1) * sizeof(int64_t) + sizeof screen->operands +
                        sizeof screen->needed;
        if (batch->needed > batch->results_size)
            return SYN_NO_ROOM;
        if ((status = play_one(screen, batch, list + at - size, (size_t)size)) != SYN_SCREENED)
            return status;
        batch->number++;
    }
    return SYN_SCREENED;
}
