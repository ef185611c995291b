#include "variants.h"

#include "../../recorder/_native/msgpack.h"
#include "../../replayer/_native/player.h"

#include <stdlib.h>
#include <string.h>

#define KIND_ENTER 16
#define SHORT_RECORD 30              /* bytes, without the check */
#define MOST_CALLS 4000              /* of a sequence that grows */
#define MOST_BYTES ((size_t)1 << 20) /* of one */
#define CHUNK ((size_t)1 << 18)
#define SEARCHED 60 /* calls of a long sequence in which an operand is looked for */
#define LONGEST_TEXT 70000

/* --------------------------------------------------------------------------------------------------------- chance */

typedef struct Chance {
    uint64_t state;
} Chance;

static uint64_t any(Chance *chance) { /* splitmix64 */
    uint64_t x = chance->state += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* A number in 0..bound-1; 0 if there is none. */
static uint32_t below(Chance *chance, size_t bound) {
    return (uint32_t)((any(chance) >> 32) * (uint64_t)bound >> 32);
}

static int happens(Chance *chance, uint32_t percent) {
    return below(chance, 100) < percent;
}

/* ---------------------------------------------------------------------------------------------------------- memory */

typedef struct Chunk {
    struct Chunk *next;
    size_t used, size;
} Chunk;

typedef struct Arena {
    Chunk *first;
} Arena;

static uint8_t *room(Arena *arena, size_t size) {
    Chunk *chunk = arena->first;
    uint8_t *at;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        const size_t all = size > CHUNK ? size : CHUNK;
        chunk = malloc(sizeof *chunk + all);
        if (chunk == NULL)
            return NULL;
        chunk->next = arena->first;
        chunk->used = 0;
        chunk->size = all;
        arena->first = chunk;
    }
    at = (uint8_t *)(chunk + 1) + chunk->used;
    chunk->used += size;
    return at;
}

/* Forget all but one chunk. */
static void empty(Arena *arena) {
    while (arena->first != NULL && arena->first->next != NULL) {
        Chunk *next = arena->first->next;
        free(arena->first);
        arena->first = next;
    }
    if (arena->first != NULL)
        arena->first->used = 0;
}

/* ----------------------------------------------------------------------------------------------------------- calls */

typedef struct Value {
    const uint8_t *at;
    uint32_t size;
} Value;

/* A call: its record with the check. */
typedef struct Packed {
    const uint8_t *at;
    uint32_t size;
    uint32_t slot;
} Packed;

typedef struct Sequence {
    const uint8_t *head; /* the records before the first call */
    size_t head_size;
    Packed *calls;
    size_t count, room;
    int plain;
} Sequence;

typedef struct Maker {
    const SynKnown *known;
    const SynWanted *wanted;
    const SynSource *source;
    Sequence *sources;
    Sequence now;
    Arena arena;
    Chance chance;
    int no_memory;
} Maker;

static uint32_t crc32_of(const uint8_t *data, size_t size) {
    static uint32_t table[256];
    uint32_t crc = 0xFFFFFFFFu, i, k;
    if (table[1] == 0) {
        for (i = 0; i < 256; i++) {
            uint32_t value = i;
            for (k = 0; k < 8; k++)
                value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
            table[i] = value;
        }
    }
    while (size-- > 0)
        crc = crc >> 8 ^ table[(crc ^ *data++) & 0xFF];
    return ~crc;
}

/* A record's check, as recorder/encoding.py has it; gives where it ends. */
static uint8_t *put_check(const uint8_t *record, uint8_t *at) {
    const size_t size = (size_t)(at - record);
    uint32_t sum = 1;
    size_t i;
    if (size <= SHORT_RECORD) {
        for (i = 0; i < size; i++)
            sum += record[i];
        *at++ = 0xCC;
        *at++ = (uint8_t)sum;
        return at;
    }
    sum = crc32_of(record, size);
    *at++ = 0xCE;
    for (i = 0; i < 4; i++)
        *at++ = (uint8_t)(sum >> (24 - 8 * i));
    return at;
}

/* Where a call's arguments lie; their number, -1 if the record is none of ours. */
static int arguments(const Packed *call, Value *values) {
    MpReader r = {call->at, call->at + call->size, 1};
    const MpValue array = mp_next(&r);
    uint64_t n;
    mp_skip(&r, 3);
    if (!r.sound || array.kind != MP_ARRAY || array.number < 3 || array.number > 3 + SYN_MOST_ARGUMENTS)
        return -1;
    for (n = 0; n < array.number - 3; n++) {
        const uint8_t *at = r.at;
        mp_skip(&r, 1);
        values[n].at = at;
        values[n].size = (uint32_t)(r.at - at);
    }
    return r.sound ? (int)n : -1;
}

/* A call of these arguments. */
static int build(Maker *maker, uint32_t slot, const Value *values, uint32_t count, Packed *call) {
    size_t size = 1 + 3 + 1 + 1 + 5;
    uint32_t n;
    uint8_t *at, *to;
    for (n = 0; n < count; n++)
        size += values[n].size;
    if ((to = at = room(&maker->arena, size)) == NULL) {
        maker->no_memory = 1;
        return 0;
    }
    *to++ = (uint8_t)(0x90 | (3 + count)); /* as many as 15 are short */
    if (KIND_ENTER + slot < 0x80) {
        *to++ = (uint8_t)(KIND_ENTER + slot);
    } else if (KIND_ENTER + slot <= UINT8_MAX) {
        *to++ = 0xCC;
        *to++ = (uint8_t)(KIND_ENTER + slot);
    } else {
        *to++ = 0xCD;
        *to++ = (uint8_t)((KIND_ENTER + slot) >> 8);
        *to++ = (uint8_t)(KIND_ENTER + slot);
    }
    *to++ = 0; /* ticks */
    *to++ = 0; /* thread */
    for (n = 0; n < count; n++) {
        memcpy(to, values[n].at, values[n].size);
        to += values[n].size;
    }
    to = put_check(at, to);
    call->at = at;
    call->size = (uint32_t)(to - at);
    call->slot = slot;
    return 1;
}

static int make_room(Sequence *sequence, size_t count) {
    Packed *more;
    if (sequence->room >= count)
        return 1;
    more = realloc(sequence->calls, 2 * count * sizeof *more);
    if (more == NULL)
        return 0;
    sequence->calls = more;
    sequence->room = 2 * count;
    return 1;
}

/* Put calls in; they may be the sequence's own. */
static int insert(Maker *maker, size_t at, const Packed *calls, size_t count, size_t times) {
    Sequence *now = &maker->now;
    Packed own[8], *copy = own;
    size_t n;
    if (count == 0 || times == 0 || now->count + count * times > MOST_CALLS)
        return 0;
    if (count > 8 && (copy = malloc(count * sizeof *copy)) == NULL) {
        maker->no_memory = 1;
        return 0;
    }
    memcpy(copy, calls, count * sizeof *copy);
    if (!make_room(now, now->count + count * times)) {
        maker->no_memory = 1;
    } else {
        memmove(now->calls + at + count * times, now->calls + at, (now->count - at) * sizeof *now->calls);
        for (n = 0; n < times; n++)
            memcpy(now->calls + at + n * count, copy, count * sizeof *copy);
        now->count += count * times;
    }
    if (copy != own)
        free(copy);
    return !maker->no_memory;
}

static void cut(Sequence *sequence, size_t at, size_t count) {
    memmove(sequence->calls + at, sequence->calls + at + count,
            (sequence->count - at - count) * sizeof *sequence->calls);
    sequence->count -= count;
}

/* Take a packed sequence apart. */
static int parse(const SynKnown *known, const SynSource *source, Sequence *sequence) {
    MpReader r = {source->packed, source->packed + source->size, 1};
    sequence->head = source->packed;
    sequence->count = 0;
    sequence->head_size = source->size;
    while (r.at < r.end) {
        const uint8_t *at = r.at;
        const MpValue array = mp_next(&r), kind = mp_next(&r);
        if (!r.sound || array.kind != MP_ARRAY || array.number < 1 || kind.kind != MP_UNSIGNED)
            return -2;
        mp_skip(&r, array.number - 1);
        mp_skip(&r, 1);
        if (!r.sound)
            return -2;
        if (kind.number < KIND_ENTER) {
            if (sequence->count != 0)
                return -2;
            continue;
        }
        if (kind.number - KIND_ENTER >= known->method_count)
            return -2;
        if (!make_room(sequence, sequence->count + 1))
            return -1;
        if (sequence->count == 0)
            sequence->head_size = (size_t)(at - source->packed);
        sequence->calls[sequence->count].at = at;
        sequence->calls[sequence->count].size = (uint32_t)(r.at - at);
        sequence->calls[sequence->count].slot = (uint32_t)(kind.number - KIND_ENTER);
        sequence->count++;
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------------------- values */

static int is_integer(uint8_t type) {
    return type >= SYN_BOOL && type <= SYN_HRESULT;
}

/* A number as 128 bits would hold it: its sign apart. */
typedef struct Number {
    int negative;
    uint64_t bits; /* in two's complement */
} Number;

static int read_number(const Value *value, Number *number) {
    MpReader r = {value->at, value->at + value->size, 1};
    const MpValue found = mp_next(&r);
    number->negative = found.kind == MP_NEGATIVE;
    number->bits = found.number;
    return r.sound && (found.kind == MP_UNSIGNED || found.kind == MP_NEGATIVE);
}

/* The number as a type has it, all others wrapped into its range; packed. */
static int pack_number(Maker *maker, uint8_t type, uint64_t bits, Value *value) {
    uint8_t *at = room(&maker->arena, 9), *to = at;
    int64_t wide = (int64_t)bits;
    unsigned bytes, code;
    int negative;
    if (at == NULL) {
        maker->no_memory = 1;
        return 0;
    }
    switch (type) {
    case SYN_BOOL:
        wide = bits != 0;
        break;
    case SYN_I32:
    case SYN_HRESULT:
        wide = (int32_t)(uint32_t)bits;
        break;
    case SYN_U32:
        wide = (uint32_t)bits;
        break;
    default:
        break;
    }
    negative = type != SYN_U64 && wide < 0;
    if (!negative && (uint64_t)wide < 0x80) {
        *to++ = (uint8_t)wide;
    } else if (negative && wide >= -32) {
        *to++ = (uint8_t)(int8_t)wide;
    } else {
        if (negative) {
            bytes = wide >= INT8_MIN ? 1 : wide >= INT16_MIN ? 2 : wide >= INT32_MIN ? 4 : 8;
            code = 0xD0;
        } else {
            const uint64_t size = (uint64_t)wide;
            bytes = size <= UINT8_MAX ? 1 : size <= UINT16_MAX ? 2 : size <= UINT32_MAX ? 4 : 8;
            code = 0xCC;
        }
        *to++ = (uint8_t)(code + (bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3));
        while (bytes-- > 0)
            *to++ = (uint8_t)((uint64_t)wide >> 8 * bytes);
    }
    value->at = at;
    value->size = (uint32_t)(to - at);
    return 1;
}

static int pack_text(Maker *maker, const uint8_t *text, size_t size, Value *value) {
    uint8_t *at = room(&maker->arena, size + 5), *to = at;
    if (at == NULL) {
        maker->no_memory = 1;
        return 0;
    }
    if (size < 32) {
        *to++ = (uint8_t)(0xA0 | size);
    } else if (size <= UINT8_MAX) {
        *to++ = 0xD9;
        *to++ = (uint8_t)size;
    } else if (size <= UINT16_MAX) {
        *to++ = 0xDA;
        *to++ = (uint8_t)(size >> 8);
        *to++ = (uint8_t)size;
    } else {
        *to++ = 0xDB;
        *to++ = (uint8_t)(size >> 24);
        *to++ = (uint8_t)(size >> 16);
        *to++ = (uint8_t)(size >> 8);
        *to++ = (uint8_t)size;
    }
    memcpy(to, text, size);
    value->at = at;
    value->size = (uint32_t)(to + size - at);
    return 1;
}

/* A text in UTF-8; NULL for NULL, and for one that has lone surrogates. */
static const uint8_t *read_text(const Value *value, size_t *size) {
    MpReader r = {value->at, value->at + value->size, 1};
    const MpValue found = mp_next(&r);
    *size = found.size;
    return r.sound && found.kind == MP_STR ? found.data : NULL;
}

static int is_text(const Value *value) {
    MpReader r = {value->at, value->at + value->size, 1};
    const MpValue found = mp_next(&r);
    return r.sound && (found.kind == MP_STR || found.kind == MP_BIN);
}

static int same(const Value *one, const Value *other) {
    return one->size == other->size && memcmp(one->at, other->at, one->size) == 0;
}

static int from_pool(Maker *maker, const SynMethod *method, uint32_t position, Value *value) {
    const SynPool *pool = &method->pools[position];
    uint32_t n;
    if (pool->count == 0)
        return 0;
    if (pool->learned > 0 && happens(&maker->chance, 25))
        n = pool->count - 1 - below(&maker->chance, pool->learned);
    else
        n = below(&maker->chance, pool->count);
    value->at = pool->values[n];
    value->size = pool->sizes[n];
    return 1;
}

/* A number near the present one. */
static int near(Maker *maker, uint8_t type, Value *value) {
    static const int64_t steps[] = {1, -1, 2, -2, 16, -16};
    Number number = {0, 0};
    const uint32_t chance = below(&maker->chance, 10);
    read_number(value, &number);
    if (chance < 6)
        number.bits += (uint64_t)steps[chance];
    else if (chance == 6)
        number.bits *= 2;
    else if (chance == 7)
        number.bits /= 2;
    else if (chance == 8)
        number.bits ^= (uint64_t)1 << below(&maker->chance, 32);
    else
        number.bits = below(&maker->chance, 300);
    return pack_number(maker, type, number.bits, value);
}

static int is_digit(uint8_t byte) {
    return byte >= '0' && byte <= '9';
}

/* A text of two pieces, `times` times the second one. */
static int joined(Maker *maker, const uint8_t *one, size_t size, const uint8_t *other, size_t other_size, size_t times,
                  const uint8_t *rest, size_t rest_size, Value *value) {
    const size_t all = size + other_size * times + rest_size;
    uint8_t *at, *to;
    if (all > 3 * (size_t)LONGEST_TEXT)
        return 0;
    if ((at = to = room(&maker->arena, all)) == NULL) {
        maker->no_memory = 1;
        return 0;
    }
    memcpy(to, one, size);
    to += size;
    for (; times > 0; times--, to += other_size)
        memcpy(to, other, other_size);
    memcpy(to, rest, rest_size);
    return pack_text(maker, at, all, value);
}

/* Where a character begins, at or before a place. */
static size_t character(const uint8_t *text, size_t at) {
    while (at > 0 && (text[at] & 0xC0) == 0x80)
        at--;
    return at;
}

/* A text changed by its structure: its numbers, its length, and by what is in others. */
static int vary_text(Maker *maker, const SynMethod *method, uint32_t position, Value *value) {
    static const uint16_t lengths[] = {1, 30, 31, 79, 80, 127, 128, 255, 256, 259, 260, 261, 1023, 1024, 4095, 4096};
    Chance *chance = &maker->chance;
    size_t size, at, end, other_size, length;
    const uint8_t *text = read_text(value, &size), *other;
    uint8_t digits[24];
    Value drawn;
    uint32_t number, n = 0;
    if (text == NULL || size == 0)
        return from_pool(maker, method, position, value);
    switch (below(chance, 6)) {
    case 0:
    case 1: /* a number in it */
        at = below(chance, size);
        while (at < size && !is_digit(text[at]))
            at++;
        for (end = at; end < size && is_digit(text[end]);)
            end++;
        if (at == end)
            return from_pool(maker, method, position, value);
        number = happens(chance, 50) ? below(chance, 1000) : (uint32_t)any(chance);
        do {
            digits[sizeof digits - ++n] = (uint8_t)('0' + number % 10);
            number /= 10;
        } while (number > 0);
        return joined(maker, text, at, digits + sizeof digits - n, n, 1, text + end, size - end, value);
    case 2: /* cut off */
        return pack_text(maker, text, character(text, below(chance, size)), value);
    case 3: /* of a length at which buffers end; long ones are slow */
        length = lengths[below(chance, happens(chance, 10) ? 16 : 10)];
        if (length <= size)
            return pack_text(maker, text, character(text, length), value);
        return joined(maker, text, 0, text, size, length / size + 1, text, 0, value);
    default: /* another one in it */
        if (!from_pool(maker, method, position, &drawn) || (other = read_text(&drawn, &other_size)) == NULL)
            return 0;
        at = character(text, below(chance, size));
        return joined(maker, text, at, other, other_size, 1, text + at, size - at, value);
    }
}

/* Another value for an argument. */
static int another(Maker *maker, const SynMethod *method, uint32_t position, Value *value) {
    const uint8_t type = method->types[position];
    if (is_integer(type) && happens(&maker->chance, 40))
        return near(maker, type, value);
    if (type == SYN_TEXT && happens(&maker->chance, 30))
        return vary_text(maker, method, position, value);
    return from_pool(maker, method, position, value);
}

/* ----------------------------------------------------------------------------------------------------- by mutators */

/* One argument of a call becomes another. */
static int put(Maker *maker, size_t at, Value *values, uint32_t count) {
    return build(maker, maker->now.calls[at].slot, values, count, &maker->now.calls[at]);
}

/* A call of a method, of values that there are for its arguments. */
static int any_call(Maker *maker, uint32_t slot, Packed *call) {
    const SynMethod *method = &maker->known->methods[slot];
    Value values[SYN_MOST_ARGUMENTS];
    uint32_t n;
    for (n = 0; n < method->count; n++) {
        if (!from_pool(maker, method, n, &values[n]))
            return 0;
        if (is_integer(method->types[n]) && happens(&maker->chance, 30) &&
            !pack_number(maker, method->types[n], below(&maker->chance, 100), &values[n]))
            return 0;
    }
    return build(maker, slot, values, method->count, call);
}

/* One of the methods that may be called in a state, those that end the protocol only where there are no others; -1 if there
 * is none. */
static int legal_method(Maker *maker, uint32_t state) {
    const SynKnown *known = maker->known;
    uint32_t slot, count = 0, ending;
    for (ending = 0; ending < 2; ending++) {
        for (slot = 0; slot < known->method_count; slot++)
            count += known->next[state][slot] != SYN_ILLEGAL && known->methods[slot].terminal == ending;
        if (count > 0)
            break;
    }
    if (count == 0)
        return -1;
    count = below(&maker->chance, count);
    for (slot = 0; slot < known->method_count; slot++) {
        if (known->next[state][slot] != SYN_ILLEGAL && known->methods[slot].terminal == ending && count-- == 0)
            return (int)slot;
    }
    return -1;
}

/* The last call that ends the protocol; -1 if there is none. */
static long last_end(const Maker *maker) {
    long at;
    for (at = (long)maker->now.count - 1; at >= 0; at--) {
        if (maker->known->methods[maker->now.calls[at].slot].terminal)
            return at;
    }
    return -1;
}

static int splice(Maker *maker) {
    const Sequence *other = &maker->sources[below(&maker->chance, maker->wanted->source_count)];
    size_t start, count;
    if (other->count == 0 || !other->plain)
        return 0;
    start = below(&maker->chance, other->count);
    count = 1 + below(&maker->chance, 8);
    if (count > other->count - start)
        count = other->count - start;
    return insert(maker, below(&maker->chance, maker->now.count + 1), other->calls + start, count, 1);
}

static int repeat_run(Maker *maker) {
    Sequence *now = &maker->now;
    const size_t start = below(&maker->chance, now->count), chance = below(&maker->chance, 100);
    size_t count = 1 + below(&maker->chance, chance < 85 ? 4 : now->count), times;
    if (count > now->count - start)
        count = now->count - start;
    times = chance < 80 ? 1 + below(&maker->chance, 4)
            : chance < 95 ? 1 + now->count / count
                          : 1 + below(&maker->chance, 400 / count + 1);
    return insert(maker, start, now->calls + start, count, times);
}

static int extend(Maker *maker) {
    Sequence *now = &maker->now;
    const long end = last_end(maker);
    size_t at = end < 0 ? now->count : (size_t)end;
    Packed call = now->calls[below(&maker->chance, now->count)];
    Value values[SYN_MOST_ARGUMENTS];
    const SynMethod *method = &maker->known->methods[call.slot];
    int count;
    if (method->terminal || happens(&maker->chance, 30)) {
        const int slot = legal_method(maker, maker->known->start);
        if (slot < 0 || !any_call(maker, (uint32_t)slot, &call))
            return 0;
        method = &maker->known->methods[slot];
    }
    if (method->count > 0 && (count = arguments(&call, values)) == method->count) {
        const uint32_t position = below(&maker->chance, method->count);
        if (another(maker, method, position, &values[position]) &&
            !build(maker, call.slot, values, (uint32_t)count, &call))
            return 0;
    }
    if (happens(&maker->chance, 30))
        at = below(&maker->chance, at + 1);
    return insert(maker, at, &call, 1, 1);
}

static int insert_legal(Maker *maker) {
    const SynKnown *known = maker->known;
    const size_t at = below(&maker->chance, maker->now.count + 1);
    uint32_t state = known->start;
    size_t n;
    Packed call;
    int slot;
    for (n = 0; n < at; n++) {
        const uint8_t next = known->next[state][maker->now.calls[n].slot];
        state = next != SYN_ILLEGAL ? next : state;
    }
    slot = legal_method(maker, state);
    return slot >= 0 && any_call(maker, (uint32_t)slot, &call) && insert(maker, at, &call, 1, 1);
}

static int insert_illegal(Maker *maker) {
    const SynKnown *known = maker->known;
    uint32_t slot, count = 0, n;
    Packed call;
    for (slot = 0; slot < known->method_count; slot++)
        count += known->methods[slot].called;
    n = below(&maker->chance, count);
    for (slot = 0; slot < known->method_count; slot++) {
        if (known->methods[slot].called && n-- == 0)
            return any_call(maker, slot, &call) &&
                   insert(maker, below(&maker->chance, maker->now.count + 1), &call, 1, 1);
    }
    return 0;
}

static int call_after_end(Maker *maker) {
    const long end = last_end(maker);
    const Sequence *other = &maker->sources[below(&maker->chance, maker->wanted->source_count)];
    size_t start, count;
    if (end < 0 || other->count == 0 || !other->plain)
        return 0;
    start = below(&maker->chance, other->count);
    count = 1 + below(&maker->chance, 3);
    return insert(maker, (size_t)end + 1, other->calls + start,
                  count > other->count - start ? other->count - start : count, 1);
}

static int end_twice(Maker *maker) {
    const long end = last_end(maker);
    const size_t count = maker->now.count;
    return end >= 0 &&
           insert(maker, happens(&maker->chance, 50) ? below(&maker->chance, count + 1) : count, &maker->now.calls[end], 1, 1);
}

/* Two numbers of a call as they are now. */
static int two_numbers(const Packed *call, const SynMethod *method, Value *values, Number *one, Number *other) {
    return method->one >= 0 && arguments(call, values) == method->count && read_number(&values[method->one], one) &&
           read_number(&values[method->other], other);
}

static int count_up(Maker *maker) {
    const size_t at = below(&maker->chance, maker->now.count);
    const Packed call = maker->now.calls[at];
    const SynMethod *method = &maker->known->methods[call.slot];
    Value values[SYN_MOST_ARGUMENTS];
    Number from, to;
    uint64_t steps, last, n;
    if ((int)call.slot != maker->known->series || !two_numbers(&call, method, values, &from, &to) || from.negative ||
        from.bits >= INT32_MAX)
        return 0;
    steps = happens(&maker->chance, 97) ? 2 + below(&maker->chance, 6) : 10 + below(&maker->chance, 300);
    last = from.bits + steps;
    for (n = 1; n <= steps; n++) {
        Packed next;
        if (!pack_number(maker, method->types[method->one], from.bits + n, &values[method->one]) ||
            !pack_number(maker, method->types[method->other], last, &values[method->other]) ||
            !build(maker, call.slot, values, method->count, &next) || !insert(maker, at + n, &next, 1, 1))
            return n > 1;
    }
    return 1;
}

static int change_argument(Maker *maker) {
    const size_t at = below(&maker->chance, maker->now.count);
    const SynMethod *method = &maker->known->methods[maker->now.calls[at].slot];
    Value values[SYN_MOST_ARGUMENTS];
    uint32_t position;
    if (method->count == 0 || arguments(&maker->now.calls[at], values) != method->count)
        return 0;
    position = below(&maker->chance, method->count);
    return another(maker, method, position, &values[position]) && put(maker, at, values, method->count);
}

/* It never breaks a rule, since a new text is a new step; one that was there before may not begin again. */
static int change_text(Maker *maker) {
    const size_t at = below(&maker->chance, maker->now.count);
    const uint32_t slot = maker->now.calls[at].slot;
    const SynMethod *method = &maker->known->methods[slot];
    Value values[SYN_MOST_ARGUMENTS], others[SYN_MOST_ARGUMENTS];
    uint32_t position;
    size_t n;
    if (arguments(&maker->now.calls[at], values) != method->count)
        return 0;
    for (position = 0; position < method->count; position++) {
        if (method->types[position] != SYN_TEXT || !is_text(&values[position]))
            continue;
        if (!(happens(&maker->chance, 20) ? from_pool(maker, method, position, &values[position])
                                          : vary_text(maker, method, position, &values[position])) ||
            !is_text(&values[position]))
            return 0;
        for (n = 0; n < maker->now.count; n++) {
            if (maker->now.calls[n].slot == slot && arguments(&maker->now.calls[n], others) == method->count &&
                same(&others[position], &values[position]))
                return 0;
        }
        return put(maker, at, values, method->count);
    }
    return 0;
}

static int null_argument(Maker *maker) {
    static const uint8_t nil = 0xC0, no_text = 0;
    const size_t at = below(&maker->chance, maker->now.count);
    const SynMethod *method = &maker->known->methods[maker->now.calls[at].slot];
    Value values[SYN_MOST_ARGUMENTS];
    uint32_t position, count = 0, n;
    for (position = 0; position < method->count; position++)
        count += method->never_null[position];
    if (count == 0 || arguments(&maker->now.calls[at], values) != method->count)
        return 0;
    n = below(&maker->chance, count);
    for (position = 0; position < method->count; position++) {
        if (method->never_null[position] && n-- == 0) {
            values[position].at = method->types[position] == SYN_TEXT || method->types[position] == SYN_IID ? &no_text : &nil;
            values[position].size = 1;
            return put(maker, at, values, method->count);
        }
    }
    return 0;
}

static int relate_arguments(Maker *maker) {
    const size_t at = below(&maker->chance, maker->now.count);
    const SynMethod *method = &maker->known->methods[maker->now.calls[at].slot];
    Value values[SYN_MOST_ARGUMENTS];
    Number one, other;
    if (!two_numbers(&maker->now.calls[at], method, values, &one, &other))
        return 0;
    switch (below(&maker->chance, 7)) {
    case 0:
        one = other;
        break;
    case 1:
        one.bits = other.bits + 1;
        break;
    case 2:
        other.bits = 0;
        break;
    case 3:
        one.bits = other.bits = 0;
        break;
    case 4:
        one.bits = other.bits - 1;
        break;
    case 5:
        other.bits = one.bits - 1;
        break;
    default:
        if (!from_pool(maker, method, (uint32_t)method->other, &values[method->other]) ||
            !read_number(&values[method->other], &other))
            return 0;
        one = other;
    }
    return pack_number(maker, method->types[method->one], one.bits, &values[method->one]) &&
           pack_number(maker, method->types[method->other], other.bits, &values[method->other]) &&
           put(maker, at, values, method->count);
}

static int copy_argument(Maker *maker) {
    Sequence *now = &maker->now;
    const size_t at = below(&maker->chance, now->count), other = below(&maker->chance, now->count);
    const SynMethod *method = &maker->known->methods[now->calls[at].slot];
    Value values[SYN_MOST_ARGUMENTS], others[SYN_MOST_ARGUMENTS];
    uint32_t position;
    if (at == other || now->calls[at].slot != now->calls[other].slot || method->count == 0 ||
        arguments(&now->calls[at], values) != method->count || arguments(&now->calls[other], others) != method->count)
        return 0;
    position = below(&maker->chance, method->count);
    values[position] = others[position];
    return put(maker, at, values, method->count);
}

/* Where a text is in another one; NULL if it is not. */
static const uint8_t *find(const uint8_t *in, size_t size, const uint8_t *what, size_t length) {
    size_t at;
    for (at = 0; length > 0 && at + length <= size; at++) {
        if (memcmp(in + at, what, length) == 0)
            return in + at;
    }
    return NULL;
}

/* The value that the target compared with `one`, where it took `value` for it. */
static int matched(Maker *maker, uint8_t type, const Value *one, const Value *other, Value *value) {
    size_t size, one_size, other_size;
    const uint8_t *text, *from, *to, *at;
    Number number, aim;
    if (is_integer(type)) {
        if (!read_number(other, &aim) || !read_number(value, &number))
            return 0;
        if (!same(one, value) && happens(&maker->chance, 50)) {
            Number seen;
            if (read_number(one, &seen)) /* what it made of it differs by so much */
                aim.bits += number.bits - seen.bits;
        }
        if (happens(&maker->chance, 20))
            aim.bits += happens(&maker->chance, 50) ? 1 : (uint64_t)-1;
        return pack_number(maker, type, aim.bits, value);
    }
    if (type != SYN_TEXT || (to = read_text(other, &other_size)) == NULL)
        return 0;
    text = read_text(value, &size);
    from = read_text(one, &one_size);
    if (text == NULL || from == NULL || (at = find(text, size, from, one_size)) == NULL)
        return pack_text(maker, to, other_size, value);
    return joined(maker, text, (size_t)(at - text), to, other_size, 1, at + one_size,
                  size - (size_t)(at - text) - one_size, value);
}

static int match_comparison(Maker *maker) {
    const SynCompared *pair;
    Sequence *now = &maker->now;
    Value one, other, values[SYN_MOST_ARGUMENTS];
    const size_t count = now->count < SEARCHED ? now->count : SEARCHED, start = below(&maker->chance, count);
    const int exactly = happens(&maker->chance, 70);
    size_t n;
    uint32_t position;
    Number number;
    if (maker->source->compared_count == 0)
        return 0;
    pair = &maker->source->compared[below(&maker->chance, maker->source->compared_count)];
    one.at = pair->one, one.size = pair->one_size;
    other.at = pair->other, other.size = pair->other_size;
    if (happens(&maker->chance, 40)) {
        const Value turned = one;
        one = other;
        other = turned;
    }
    for (n = 0; n < count; n++) {
        const size_t at = (start + n) % count;
        const SynMethod *method = &maker->known->methods[now->calls[at].slot];
        if (method->count == 0 || arguments(&now->calls[at], values) != method->count)
            continue;
        for (position = 0; position < method->count; position++) {
            const uint8_t type = method->types[position];
            size_t size, part_size;
            const uint8_t *text, *part;
            if (is_integer(type) != read_number(&other, &number))
                continue;
            if (exactly && is_integer(type) && !same(&values[position], &one))
                continue;
            if (exactly && type == SYN_TEXT &&
                ((text = read_text(&values[position], &size)) == NULL || (part = read_text(&one, &part_size)) == NULL ||
                 find(text, size, part, part_size) == NULL))
                continue;
            if ((is_integer(type) || type == SYN_TEXT) && (exactly || happens(&maker->chance, 50)))
                return matched(maker, type, &one, &other, &values[position]) && put(maker, at, values, method->count);
        }
    }
    return 0;
}

static int mutate(Maker *maker, SynMutator mutator) {
    Sequence *now = &maker->now;
    Chance *chance = &maker->chance;
    size_t at, other;
    Packed call;
    switch (mutator) {
    case SYN_DROP:
        if (now->count < 2)
            return 0;
        cut(now, below(chance, now->count), 1);
        return 1;
    case SYN_DROP_RUN:
        if (now->count < 3)
            return 0;
        at = below(chance, now->count - 1);
        cut(now, at, 1 + below(chance, now->count - at - 1));
        return 1;
    case SYN_DUPLICATE:
        at = below(chance, now->count);
        return insert(maker, at, &now->calls[at], 1, 1);
    case SYN_MOVE:
        if (now->count < 2)
            return 0;
        at = below(chance, now->count);
        call = now->calls[at];
        cut(now, at, 1);
        return insert(maker, below(chance, now->count + 1), &call, 1, 1);
    case SYN_SWAP:
        at = below(chance, now->count);
        other = below(chance, now->count);
        call = now->calls[at];
        now->calls[at] = now->calls[other];
        now->calls[other] = call;
        return at != other;
    case SYN_TRUNCATE:
        if (now->count < 2)
            return 0;
        now->count = 1 + below(chance, now->count - 1);
        return 1;
    case SYN_SPLICE:
        return splice(maker);
    case SYN_REPEAT_RUN:
        return repeat_run(maker);
    case SYN_EXTEND:
        return extend(maker);
    case SYN_INSERT_LEGAL:
        return insert_legal(maker);
    case SYN_INSERT_ILLEGAL:
        return insert_illegal(maker);
    case SYN_CALL_AFTER_END:
        return call_after_end(maker);
    case SYN_END_TWICE:
        return end_twice(maker);
    case SYN_COUNT_UP:
        return count_up(maker);
    case SYN_CHANGE_ARGUMENT:
        return change_argument(maker);
    case SYN_CHANGE_TEXT:
        return change_text(maker);
    case SYN_NULL_ARGUMENT:
        return null_argument(maker);
    case SYN_RELATE_ARGUMENTS:
        return relate_arguments(maker);
    case SYN_COPY_ARGUMENT:
        return copy_argument(maker);
    case SYN_MATCH_COMPARISON:
        return match_comparison(maker);
    default:
        return 0;
    }
}

/* -------------------------------------------------------------------------------------------------------- variants */

/* The beginning of a sequence that may be called; one call at least is left. */
static void keep_legal(Maker *maker) {
    const SynKnown *known = maker->known;
    uint32_t state = known->start;
    size_t n;
    for (n = 0; n < maker->now.count; n++) {
        const uint8_t next = known->next[state][maker->now.calls[n].slot];
        if (next == SYN_ILLEGAL)
            break;
        state = next;
    }
    if (n == 0) {
        const int slot = legal_method(maker, known->start);
        n = slot >= 0 && any_call(maker, (uint32_t)slot, &maker->now.calls[0]);
    }
    maker->now.count = n;
}

static int is_avoided(const SynWanted *wanted, const Sequence *sequence) {
    size_t n, i;
    for (i = 0; i < wanted->avoided_count; i++) {
        for (n = 0; n < sequence->count; n++) {
            if (sequence->calls[n].size == wanted->avoided[i].size &&
                memcmp(sequence->calls[n].at, wanted->avoided[i].at, wanted->avoided[i].size) == 0)
                return 1;
        }
    }
    return 0;
}

static int make_slot_room(SynMade *made, size_t count) {
    uint16_t *more;
    if (made->slot_room - made->slot_count >= count)
        return 1;
    more = realloc(made->slots, 2 * (made->slot_count + count) * sizeof *more);
    if (more == NULL)
        return 0;
    made->slots = more;
    made->slot_room = 2 * (made->slot_count + count);
    return 1;
}

/* Add a sequence to what was made: 1; 0 if it is longer than that or not to be made, -1 if there is no memory. */
static int append(const Maker *maker, const Sequence *sequence, size_t most, SynMade *made) {
    const SynKnown *known = maker->known;
    size_t size = sequence->head_size, n;
    uint32_t state = known->start;
    uint8_t *at;
    for (n = 0; n < sequence->count; n++)
        size += sequence->calls[n].size;
    if (size > most || is_avoided(maker->wanted, sequence))
        return 0;
    if (!make_slot_room(made, sequence->count))
        return -1;
    if (made->room - made->size < size + 4) {
        const size_t more = 2 * (made->room + size + 4);
        at = realloc(made->list, more);
        if (at == NULL)
            return -1;
        made->list = at;
        made->room = more;
    }
    at = made->list + made->size;
    for (n = 0; n < 4; n++)
        *at++ = (uint8_t)(size >> 8 * n);
    memcpy(at, sequence->head, sequence->head_size);
    at += sequence->head_size;
    for (n = 0; n < sequence->count; n++) {
        const Packed *call = &sequence->calls[n];
        const uint8_t next = known->moves[state][call->slot];
        memcpy(at, call->at, call->size);
        at += call->size;
        made->ends[made->count] |= known->methods[call->slot].terminal;
        made->slots[made->slot_count++] = (uint16_t)call->slot;
        made->steps[state * known->method_count + call->slot]++;
        state = next != SYN_ILLEGAL ? next : state;
    }
    made->size += size + 4;
    made->calls[made->count] = (uint32_t)sequence->count;
    return 1;
}

/* A variant of a source: itself if it comes to nothing. */
static int vary(Maker *maker, const Sequence *source, SynMade *made) {
    const SynWanted *wanted = maker->wanted;
    uint8_t *used = made->used[made->count], *count = &made->used_count[made->count];
    uint32_t again = 1000, tries = 0;
    int appended;
    if (!make_room(&maker->now, source->count + 1))
        return -1;
    memcpy(maker->now.calls, source->calls, source->count * sizeof *source->calls);
    maker->now.count = source->count;
    maker->now.head = source->head;
    maker->now.head_size = source->head_size;
    while (wanted->turn_count > 0 && *count < SYN_MOST_USED && tries++ < 32 && below(&maker->chance, 1000) < again) {
        const uint8_t turn = wanted->turns[below(&maker->chance, wanted->turn_count)];
        if (maker->now.count > 0 && mutate(maker, (SynMutator)turn)) {
            used[(*count)++] = turn;
            again = again * 2 / 5;
        } else {
            again = again * 9 / 10;
        }
    }
    if (wanted->legal)
        keep_legal(maker);
    if (maker->no_memory)
        return -1;
    if (maker->now.count == 0 || (appended = append(maker, &maker->now, MOST_BYTES, made)) == 0) {
        memset(used, 0, SYN_MOST_USED);
        *count = 0;
        appended = append(maker, source, UINT32_MAX, made);
    }
    return appended;
}

static int make_lists(SynMade *made, const SynKnown *known, const SynWanted *wanted) {
    size_t count = 1, n;
    for (n = 0; n < wanted->source_count; n++)
        count += wanted->sources[n].until;
    made->numbers = calloc(count, sizeof *made->numbers);
    made->origins = calloc(count, sizeof *made->origins);
    made->calls = calloc(count, sizeof *made->calls);
    made->ends = calloc(count, sizeof *made->ends);
    made->used_count = calloc(count, sizeof *made->used_count);
    made->used = calloc(count, sizeof *made->used);
    made->steps = calloc((size_t)known->state_count * known->method_count + 1, sizeof *made->steps);
    return made->numbers != NULL && made->origins != NULL && made->calls != NULL && made->ends != NULL &&
           made->used_count != NULL && made->used != NULL && made->steps != NULL;
}

/* What is wanted of one source. */
static int make_of(Maker *maker, size_t source, SynMade *made) {
    uint32_t variant;
    maker->source = &maker->wanted->sources[source];
    for (variant = maker->source->from; variant < maker->source->until; variant++) {
        const uint64_t number = maker->source->number + variant;
        int appended;
        maker->chance.state = maker->wanted->seed ^ number * 0xD1342543DE82EF95u;
        if (variant == 0)
            appended = append(maker, &maker->sources[source], UINT32_MAX, made);
        else
            appended = vary(maker, &maker->sources[source], made);
        empty(&maker->arena);
        if (appended < 0)
            return appended;
        if (appended > 0) {
            made->numbers[made->count] = (uint32_t)number;
            made->origins[made->count] = (uint32_t)source;
            made->count++;
        }
    }
    return 0;
}

int syn_variants(const SynKnown *known, const SynWanted *wanted, SynMade *made) {
    Maker maker;
    size_t n;
    int status = 0;
    memset(&maker, 0, sizeof maker);
    memset(made, 0, sizeof *made);
    maker.known = known;
    maker.wanted = wanted;
    maker.sources = calloc(wanted->source_count + 1, sizeof *maker.sources);
    if (maker.sources == NULL || !make_lists(made, known, wanted))
        status = -1;
    for (n = 0; n < wanted->source_count && status == 0; n++) {
        status = parse(known, &wanted->sources[n], &maker.sources[n]);
        maker.sources[n].plain = wanted->sources[n].plain;
    }
    for (n = 0; n < wanted->source_count && status == 0; n++)
        status = make_of(&maker, n, made);
    for (n = 0; maker.sources != NULL && n < wanted->source_count; n++)
        free(maker.sources[n].calls);
    free(maker.sources);
    free(maker.now.calls);
    empty(&maker.arena);
    free(maker.arena.first);
    return status;
}

void syn_made_free(SynMade *made) {
    free(made->list);
    free(made->numbers);
    free(made->origins);
    free(made->calls);
    free(made->ends);
    free(made->used_count);
    free(made->used);
    free(made->slots);
    free(made->steps);
    memset(made, 0, sizeof *made);
}
