#ifndef _WIN32
#define _POSIX_C_SOURCE 200112L
#endif
#include "player.h"

#include "fault.h"
#include "../../recorder/_native/msgpack.h"
#include "wide.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <time.h>
#endif

enum Kind { KIND_TEXT = 1, KIND_ENTER = 16 };

#define MAX_TEXT_NUMBER 0xFFFF
#define MAX_TEXT_UNITS 1024        /* of one that is defined */
#define CHUNK_BYTES ((size_t)64 << 10)
#define QUERY_INTERFACE 0
#define ADD_REF 1
#define RELEASE 2

typedef struct Method {
    uint8_t returns;
    uint8_t count;  /* of parameters */
    uint8_t inputs; /* of them */
    uint8_t parameters[SYN_MAX_WORDS];
} Method;

typedef struct Text {
    const uint16_t *units;
    uint32_t count;
    uint32_t generation; /* it is defined where this is the player's */
} Text;

/* Where defined texts lie, widened. */
typedef struct Chunk {
    struct Chunk *next;
    size_t used;
    uint16_t units[CHUNK_BYTES / 2];
} Chunk;

struct SynPlayer {
    SynTexts *texts;
    Text *defined; /* by number */
    uint32_t generation;
    Chunk *chunks, *spare;
    uint16_t *scratch; /* for a text that stands in its event */
    size_t scratch_units;
    uint32_t count;
    Method methods[SYN_MAX_SLOTS];
};

/* What one call needs beside its words. */
typedef struct Room {
    uint64_t cells[SYN_MAX_WORDS]; /* behind addresses: scalars and outputs */
    uint8_t iids[SYN_MAX_WORDS][16];
} Room;

/* Whether the first slots are IUnknown's. */
static int is_unknown(const SynPlayer *player) {
    const Method *query = &player->methods[QUERY_INTERFACE];
    return player->count > RELEASE && query->count == 2 && query->parameters[0] == SYN_IID &&
           query->parameters[1] == (SYN_POINTER | SYN_OUT) && player->methods[ADD_REF].count == 0 &&
           player->methods[RELEASE].count == 0;
}

static int read_description(SynPlayer *player, const uint8_t *at, size_t size) {
    const uint8_t *end = at + size;
    while (at < end) {
        Method *method = &player->methods[player->count];
        uint8_t i;
        if (player->count == SYN_MAX_SLOTS || end - at < 2)
            return -1;
        method->returns = *at++;
        method->count = *at++;
        if (method->count > SYN_MAX_WORDS || end - at < method->count ||
            (method->returns >= SYN_TEXT && method->returns != SYN_HANDLE && method->returns != SYN_POINTER &&
             method->returns != SYN_UNSUPPORTED))
            return -1;
        for (i = 0; i < method->count; i++) {
            const uint8_t p = method->parameters[i] = *at++, type = p & SYN_TYPE;
            const int apart = p & (SYN_OUT | SYN_BY_ADDRESS);
            if (type == SYN_VOID || type >= SYN_TYPES || (apart && (type == SYN_TEXT || type == SYN_IID)))
                return -1;
            method->inputs = (uint8_t)(method->inputs + !(p & SYN_OUT));
        }
        player->count++;
    }
    return is_unknown(player) ? 0 : -1;
}

SynPlayer *syn_player_new(const uint8_t *description, size_t size, SynGuard guard, uint32_t slots, uint64_t seed) {
    SynPlayer *player = calloc(1, sizeof *player);
    if (player == NULL)
        return NULL;
    player->generation = 1;
    player->defined = calloc(MAX_TEXT_NUMBER + 1, sizeof *player->defined);
    player->texts = syn_texts_new(guard, slots, seed);
    if (player->defined == NULL || player->texts == NULL || read_description(player, description, size) != 0) {
        syn_player_free(player);
        return NULL;
    }
    return player;
}

static void free_chunks(Chunk *chunk) {
    while (chunk != NULL) {
        Chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

void syn_player_free(SynPlayer *player) {
    if (player == NULL)
        return;
    syn_texts_free(player->texts);
    free_chunks(player->chunks);
    free_chunks(player->spare);
    free(player->defined);
    free(player->scratch);
    free(player);
}

void syn_player_forget(SynPlayer *player) {
    Chunk *last;
    if (++player->generation == 0) { /* after 2^32 batches an old number would seem new */
        memset(player->defined, 0, (MAX_TEXT_NUMBER + 1) * sizeof *player->defined);
        player->generation = 1;
    }
    while ((last = player->chunks) != NULL) {
        player->chunks = last->next;
        last->next = player->spare;
        player->spare = last;
    }
}

/* Room for units of a defined text; NULL if there is no memory. */
static uint16_t *room_for(SynPlayer *player, size_t units) {
    Chunk *chunk = player->chunks;
    if (chunk == NULL || CHUNK_BYTES / 2 - chunk->used < units) {
        if ((chunk = player->spare) != NULL)
            player->spare = chunk->next;
        else if ((chunk = malloc(sizeof *chunk)) == NULL)
            return NULL;
        chunk->used = 0;
        chunk->next = player->chunks;
        player->chunks = chunk;
    }
    return chunk->units + chunk->used;
}

/* The units of a text as a record spells it: str is UTF-8, bin little-endian UTF-16.  `to` has room for `value->size`. */
static size_t widen(uint16_t *to, const MpValue *value) {
    size_t i;
    if (value->kind == MP_STR)
        return wide_from_utf8(to, value->data, value->size);
    if (value->kind != MP_BIN || value->size % 2 != 0)
        return WIDE_BAD;
    for (i = 0; i < value->size / 2; i++)
        to[i] = (uint16_t)(value->data[2 * i] | value->data[2 * i + 1] << 8);
    return value->size / 2;
}

static SynStatus define_text(SynPlayer *player, MpReader *r, uint64_t elements) {
    const MpValue number = mp_next(r), value = mp_next(r);
    uint16_t *to;
    size_t units;
    Text *text;
    if (!r->sound || elements < 3 || number.kind != MP_UNSIGNED || number.number < 1 ||
        number.number > MAX_TEXT_NUMBER || value.size > 3 * MAX_TEXT_UNITS)
        return SYN_MALFORMED;
    text = &player->defined[number.number];
    if (text->generation == player->generation)
        return SYN_MALFORMED;
    if ((to = room_for(player, value.size)) == NULL)
        return SYN_NO_MEMORY;
    units = widen(to, &value);
    if (units == WIDE_BAD || units > MAX_TEXT_UNITS)
        return SYN_MALFORMED;
    player->chunks->used += units;
    text->units = to;
    text->count = (uint32_t)units;
    text->generation = player->generation;
    mp_skip(r, elements - 3);
    return r->sound ? SYN_DONE : SYN_MALFORMED;
}

/* The units of a text argument; `*units` is NULL for NULL. */
static SynStatus find_text(SynPlayer *player, const MpValue *value, const uint16_t **units, size_t *count) {
    if (value->kind == MP_UNSIGNED) {
        const Text *text;
        *units = NULL;
        if (value->number == 0)
            return SYN_DONE;
        if (value->number > MAX_TEXT_NUMBER)
            return SYN_MALFORMED;
        text = &player->defined[value->number];
        if (text->generation != player->generation)
            return SYN_MALFORMED;
        *units = text->units;
        *count = text->count;
        return SYN_DONE;
    }
    if (value->kind != MP_STR && value->kind != MP_BIN)
        return value->kind == MP_NEGATIVE || value->kind == MP_ARRAY ? SYN_MALFORMED : SYN_UNFIT;
    if (value->size >= player->scratch_units) {
        uint16_t *more = realloc(player->scratch, 2 * (value->size + 1));
        if (more == NULL)
            return SYN_NO_MEMORY;
        player->scratch = more;
        player->scratch_units = value->size + 1;
    }
    *units = player->scratch;
    *count = widen(player->scratch, value);
    return *count == WIDE_BAD ? SYN_MALFORMED : SYN_DONE;
}

static int hex_digit(uint16_t unit) {
    if (unit >= '0' && unit <= '9')
        return unit - '0';
    unit |= 0x20;
    return unit >= 'a' && unit <= 'f' ? unit - 'a' + 10 : -1;
}

/* The bytes of an IID spelled {xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}, as they lie in memory. */
static int parse_iid(uint8_t *iid, const uint16_t *text, size_t units) {
    static const uint8_t place[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    size_t at = 1, i;
    if (units != 38 || text[0] != '{' || text[37] != '}')
        return -1;
    for (i = 0; i < 16; i++) {
        int high, low;
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            if (text[at++] != '-')
                return -1;
        }
        high = hex_digit(text[at]);
        low = hex_digit(text[at + 1]);
        at += 2;
        if (high < 0 || low < 0)
            return -1;
        iid[place[i]] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

/* Whether an integer is in the range of its type; HRESULTs may be written unsigned, too. */
static int in_range(uint8_t type, const MpValue *value) {
    const int64_t number = (int64_t)value->number;
    const int negative = value->kind == MP_NEGATIVE;
    switch (type) {
    case SYN_BOOL:
    case SYN_I32:
        return negative ? number >= INT32_MIN : value->number <= INT32_MAX;
    case SYN_HRESULT:
        return negative ? number >= INT32_MIN : value->number <= UINT32_MAX;
    case SYN_U32:
        return !negative && value->number <= UINT32_MAX;
    case SYN_I64:
        return negative || value->number <= INT64_MAX;
    default:
        return !negative;
    }
}

/* An integer as a word, extended as its type says. */
static SynWord extended(uint8_t type, SynWord word) {
    switch (type) {
    case SYN_BOOL:
    case SYN_I32:
    case SYN_HRESULT:
        return (SynWord)(int64_t)(int32_t)(uint32_t)word;
    case SYN_U32:
        return (uint32_t)word;
    case SYN_VOID:
        return 0;
    default:
        return word;
    }
}

static SynStatus find_handle(SynPlay *play, const MpValue *value, SynWord *word) {
    size_t i;
    if (value->kind == MP_NIL) {
        *word = 0;
        return SYN_DONE;
    }
    if (value->kind == MP_NEGATIVE) {
        *word = value->number;
        return SYN_DONE;
    }
    if (value->kind != MP_UNSIGNED)
        return value->kind == MP_OTHER ? SYN_UNFIT : SYN_MALFORMED;
    for (i = 0; i < play->handle_count; i++) {
        if ((uint64_t)play->handles[i].symbol == value->number) {
            *word = play->handles[i].value;
            play->given |= (uint64_t)(i < 64) << (i & 63);
            return SYN_DONE;
        }
    }
    return SYN_NO_HANDLE;
}

/* One argument as a word; of texts only what is needed to place it later. */
static SynStatus read_argument(SynPlayer *player, SynPlay *play, MpReader *r, uint8_t parameter, uint64_t call,
                               uint64_t *cell, uint8_t *iid, SynWord *word) {
    const uint8_t type = parameter & SYN_TYPE;
    const MpValue value = mp_next(r);
    const uint16_t *units;
    size_t count = 0;
    SynStatus status;
    if (!r->sound)
        return SYN_MALFORMED;
    switch (type) {
    case SYN_TEXT:
    case SYN_IID:
        status = find_text(player, &value, &units, &count);
        *word = 0;
        if (status != SYN_DONE || units == NULL)
            return status;
        if (type == SYN_TEXT) {
            *word = (SynWord)(uintptr_t)syn_texts_place(player->texts, units, count, call);
            return *word == 0 ? SYN_NO_MEMORY : SYN_DONE;
        }
        *word = (SynWord)(uintptr_t)iid;
        return parse_iid(iid, units, count) == 0 ? SYN_DONE : SYN_UNFIT;
    case SYN_HANDLE:
    case SYN_POINTER:
        status = find_handle(play, &value, word);
        if (!(parameter & SYN_BY_ADDRESS) || value.kind == MP_NIL)
            return status;
        *cell = *word;
        *word = (SynWord)(uintptr_t)cell;
        return status;
    default:
        if (value.kind == MP_NIL && parameter & SYN_BY_ADDRESS) {
            *word = 0;
            return SYN_DONE;
        }
        if (value.kind != MP_UNSIGNED && value.kind != MP_NEGATIVE)
            return value.kind == MP_OTHER || value.kind == MP_NIL ? SYN_UNFIT : SYN_MALFORMED;
        if (!in_range(type, &value))
            return SYN_UNFIT;
        if (parameter & SYN_BY_ADDRESS) {
            *cell = value.number;
            *word = (SynWord)(uintptr_t)cell;
        } else {
            *word = extended(type, value.number);
        }
        return SYN_DONE;
    }
}

/* The words of a call.  What follows the last argument is part of the record and must not be. */
static SynStatus read_call(SynPlayer *player, SynPlay *play, MpReader *r, const Method *method, uint64_t elements,
                           uint64_t call, Room *room, SynWord *words) {
    SynStatus status = SYN_DONE;
    uint8_t i;
    const MpValue ticks = mp_next(r), thread = mp_next(r);
    if (!r->sound || elements < 3 || (ticks.kind != MP_UNSIGNED && ticks.kind != MP_NEGATIVE) ||
        thread.kind != MP_UNSIGNED)
        return SYN_MALFORMED;
    if (method->returns == SYN_UNSUPPORTED || elements - 3 != method->inputs)
        return SYN_UNFIT;
    for (i = 0; i < method->count && status == SYN_DONE; i++) {
        const uint8_t parameter = method->parameters[i];
        if (parameter & SYN_OUT) {
            room->cells[i] = 0;
            words[i] = (SynWord)(uintptr_t)&room->cells[i];
        } else {
            status = read_argument(player, play, r, parameter, call, &room->cells[i], room->iids[i], &words[i]);
        }
    }
    return status;
}

/* After its array each record has a check: an integer. */
static void read_check(MpReader *r) {
    if (r->sound && mp_left(r) >= 2 && *r->at == 0xCC)
        r->at += 2;
    else if (mp_next(r).kind != MP_UNSIGNED)
        r->sound = 0;
}

static uint64_t now_ns(void) {
#ifdef _WIN32
    static LARGE_INTEGER frequency;
    LARGE_INTEGER count;
    if (frequency.QuadPart == 0)
        QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&count);
    return (uint64_t)((double)count.QuadPart * 1e9 / (double)frequency.QuadPart);
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}

static void count_references(SynPlay *play, uint32_t slot, SynWord answer, const Room *room) {
    if (slot == ADD_REF) {
        play->references++;
    } else if (slot == RELEASE) {
        play->references -= play->references > 0;
    } else if (slot == QUERY_INTERFACE && (int32_t)(uint32_t)answer >= 0 && room->cells[1] != 0) {
        void *given = (void *)(uintptr_t)room->cells[1];
        if (given == play->object)
            play->references++;
        else
            syn_call(syn_entry(given, RELEASE), given, NULL, 0);
    }
}

/* The outputs of a call, in their order, as their types say. */
static void keep_outputs(uint64_t *outputs, const Method *method, const Room *room) {
    uint8_t i;
    for (i = 0; i < method->count; i++) {
        if (method->parameters[i] & SYN_OUT)
            *outputs++ = extended(method->parameters[i] & SYN_TYPE, room->cells[i]);
    }
}

static int gives_handle(const Method *method, const SynWord *words) {
    uint8_t i;
    for (i = 0; i < method->count; i++) {
        const uint8_t parameter = method->parameters[i], type = parameter & SYN_TYPE;
        if (!(parameter & SYN_OUT) && (type == SYN_HANDLE || type == SYN_POINTER) && words[i] != 0)
            return 1;
    }
    return 0;
}

static SynStatus play_on(SynPlayer *player, SynPlay *play) {
    MpReader r = {play->stream, play->stream + play->size, 1};
    const size_t capacity = play->capacity != 0 ? play->capacity : SIZE_MAX;
    SynWord words[SYN_MAX_WORDS];
    Room room;
    play->made = play->read = 0;
    while (r.at < r.end) {
        const MpValue array = mp_next(&r), kind = mp_next(&r);
        const uint64_t call = play->numbers != NULL ? play->numbers[play->made] : play->first + play->made;
        uint64_t started = 0, slot;
        const Method *method;
        SynStatus status;
        SynEntry entry;
        SynWord answer;
        if (!r.sound || array.kind != MP_ARRAY || array.number < 1 || kind.kind != MP_UNSIGNED)
            return SYN_MALFORMED;
        if (kind.number < KIND_ENTER) {
            status = SYN_DONE;
            if (kind.number == KIND_TEXT)
                status = define_text(player, &r, array.number);
            else
                mp_skip(&r, array.number - 1);
            if (status != SYN_DONE)
                return status;
            read_check(&r);
            if (!r.sound)
                return SYN_MALFORMED;
            play->read = (size_t)(r.at - play->stream);
            continue;
        }
        slot = kind.number - KIND_ENTER;
        if (slot >= player->count)
            return SYN_MALFORMED;
        if (play->made == capacity)
            return SYN_FULL;
        method = &player->methods[slot];
        status = read_call(player, play, &r, method, array.number, call, &room, words);
        if (status == SYN_DONE) {
            read_check(&r);
            if (!r.sound)
                status = SYN_MALFORMED;
        }
        if (status != SYN_DONE) {
            syn_texts_returned(player->texts);
            return status;
        }
        if (play->journal != NULL)
            *play->journal = play->journal_base + call;
        entry = syn_entry(play->object, (uint32_t)slot);
        if (play->elapsed != NULL)
            started = now_ns();
        if (play->entering != NULL)
            entry = play->entering(play, entry);
        answer = syn_call(entry, play->object, words, method->count);
        if (play->left != NULL)
            play->left(play);
        if (play->elapsed != NULL)
            play->elapsed[play->made] = now_ns() - started;
        syn_texts_returned(player->texts);
        answer = extended(method->returns, answer);
        if (slot <= RELEASE)
            count_references(play, (uint32_t)slot, answer, &room);
        if (play->values != NULL)
            play->values[play->made] = (int64_t)answer;
        if (play->outputs != NULL)
            keep_outputs(play->outputs + SYN_MAX_WORDS * play->made, method, &room);
        if (play->slots != NULL)
            play->slots[play->made] = (uint32_t)slot;
        if (play->states != NULL)
            play->states[play->made] = play->references > 0 ? play->state(play->object) : 0;
        play->handed = play->handed || gives_handle(method, words);
        play->made++;
        play->read = (size_t)(r.at - play->stream);
        if (play->stop_at_handles && play->handed && r.at < r.end)
            return SYN_STOPPED;
    }
    return SYN_DONE;
}

SynStatus syn_play(SynPlayer *player, SynPlay *play) {
    const uint8_t here = 0;
    const void *outer = syn_fault_enter(&here);
    const SynStatus status = play_on(player, play);
    syn_fault_leave(outer);
    return status;
}

int64_t syn_play_release(SynPlay *play) {
    const uint8_t here = 0;
    const void *outer = syn_fault_enter(&here);
    int64_t answer = -1;
    while (play->references > 0) {
        play->references--;
        answer = (int64_t)(uint32_t)syn_call(syn_entry(play->object, RELEASE), play->object, NULL, 0);
    }
    syn_fault_leave(outer);
    return answer;
}
