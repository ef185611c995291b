/* A tiny msgpack reader: looks at one value at a time, copies nothing, and never reads past the end.
 *
 * Whatever is wrong (cut off, a length beyond the end, a type that does not belong there) makes `sound` 0; from then on
 * every function gives 0 and reads nothing.
 */
#ifndef SYNCTAPE_MSGPACK_H
#define SYNCTAPE_MSGPACK_H

#include <stddef.h>
#include <stdint.h>

typedef struct MpReader {
    const uint8_t *at;
    const uint8_t *end;
    int sound;
} MpReader;

typedef enum MpKind { MP_NIL, MP_UNSIGNED, MP_NEGATIVE, MP_STR, MP_BIN, MP_ARRAY, MP_OTHER } MpKind;

/* A value, or the head of one: of an array only how many elements follow, of MP_OTHER (bool, float, map, ext) only its
 * first byte, with nothing read. */
typedef struct MpValue {
    MpKind kind;
    uint64_t number; /* UNSIGNED; NEGATIVE in two's complement; ARRAY: its elements; OTHER: its first byte */
    const uint8_t *data; /* STR and BIN */
    size_t size;
} MpValue;

static inline size_t mp_left(const MpReader *r) {
    return (size_t)(r->end - r->at);
}

static inline uint64_t mp_big_endian(MpReader *r, unsigned bytes) {
    uint64_t value = 0;
    unsigned i;
    if (mp_left(r) < bytes) {
        r->sound = 0;
        return 0;
    }
    for (i = 0; i < bytes; i++)
        value = value << 8 | r->at[i];
    r->at += bytes;
    return value;
}

static inline void mp_bytes(MpReader *r, MpValue *value, MpKind kind, uint64_t size) {
    value->kind = kind;
    if (!r->sound || mp_left(r) < size) {
        r->sound = 0;
        return;
    }
    value->data = r->at;
    value->size = (size_t)size;
    r->at += size;
}

static inline void mp_signed(MpValue *value, uint64_t number, unsigned bits) {
    const uint64_t sign = (uint64_t)1 << (bits - 1);
    value->number = (number ^ sign) - sign;
    value->kind = number & sign ? MP_NEGATIVE : MP_UNSIGNED;
}

/* The next value, or the head of one. */
static inline MpValue mp_next(MpReader *r) {
    MpValue value = {MP_NIL, 0, NULL, 0};
    uint8_t first;
    if (!r->sound || r->at == r->end) {
        r->sound = 0;
        return value;
    }
    first = *r->at++;
    if (first < 0x80) {
        value.kind = MP_UNSIGNED;
        value.number = first;
    } else if (first >= 0xE0) {
        mp_signed(&value, first, 8);
    } else if (first >= 0xA0 && first < 0xC0) {
        mp_bytes(r, &value, MP_STR, first & 0x1F);
    } else if (first >= 0x90 && first < 0xA0) {
        value.kind = MP_ARRAY;
        value.number = first & 0x0F;
    } else {
        switch (first) {
        case 0xC0:
            break;
        case 0xC4:
        case 0xC5:
        case 0xC6:
            mp_bytes(r, &value, MP_BIN, mp_big_endian(r, 1u << (first - 0xC4)));
            break;
        case 0xCC:
        case 0xCD:
        case 0xCE:
        case 0xCF:
            value.kind = MP_UNSIGNED;
            value.number = mp_big_endian(r, 1u << (first - 0xCC));
            break;
        case 0xD0:
        case 0xD1:
        case 0xD2:
        case 0xD3:
            mp_signed(&value, mp_big_endian(r, 1u << (first - 0xD0)), 8u << (first - 0xD0));
            break;
        case 0xD9:
        case 0xDA:
        case 0xDB:
            mp_bytes(r, &value, MP_STR, mp_big_endian(r, 1u << (first - 0xD9)));
            break;
        case 0xDC:
        case 0xDD:
            value.kind = MP_ARRAY;
            value.number = mp_big_endian(r, 2u << (first - 0xDC));
            break;
        default:
            r->at--;
            value.kind = MP_OTHER;
            value.number = first;
        }
    }
    return value;
}

/* Read over `count` values, whatever they hold; nothing nests so deep that it matters: it is counted, not followed. */
static inline void mp_skip(MpReader *r, uint64_t count) {
    while (count > 0 && r->sound) {
        MpValue value = mp_next(r);
        uint64_t more = 0, bytes = 0;
        if (value.kind == MP_ARRAY) {
            more = value.number;
        } else if (value.kind == MP_OTHER && r->sound) {
            r->at++;
            if (value.number >= 0x80 && value.number < 0x90)
                more = 2 * (value.number & 0x0F);
            else if (value.number == 0xDE || value.number == 0xDF)
                more = 2 * mp_big_endian(r, value.number == 0xDE ? 2 : 4);
            else if (value.number == 0xCA || value.number == 0xCB)
                bytes = value.number == 0xCA ? 4 : 8;
            else if (value.number >= 0xD4 && value.number <= 0xD8)
                bytes = 1 + ((uint64_t)1 << (value.number - 0xD4));
            else if (value.number >= 0xC7 && value.number <= 0xC9)
                bytes = 1 + mp_big_endian(r, 1u << (value.number - 0xC7));
            else if (value.number != 0xC2 && value.number != 0xC3)
                r->sound = 0;
        }
        if (more > mp_left(r) || bytes > mp_left(r))
            r->sound = 0;
        if (r->sound)
            r->at += bytes;
        count += more - 1;
    }
}

#endif
