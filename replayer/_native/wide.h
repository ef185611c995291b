/* UTF-8 to UTF-16, checked.  Runs of ASCII, which most texts are, go eight or sixteen bytes at a time. */
#ifndef SYNCTAPE_WIDE_H
#define SYNCTAPE_WIDE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#endif

#define WIDE_BAD ((size_t)-1)

/* Widen ASCII from the start of `text`; how many bytes were. */
static inline size_t wide_ascii(uint16_t *to, const uint8_t *text, size_t size) {
    size_t done = 0;
#if defined(__SSE2__) || defined(_M_X64)
    const __m128i zero = _mm_setzero_si128();
    while (size - done >= 16) {
        const __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(text + done));
        if (_mm_movemask_epi8(block) != 0)
            break;
        _mm_storeu_si128((__m128i *)(void *)(to + done), _mm_unpacklo_epi8(block, zero));
        _mm_storeu_si128((__m128i *)(void *)(to + done + 8), _mm_unpackhi_epi8(block, zero));
        done += 16;
    }
    if (size - done >= 8) {
        const __m128i block = _mm_loadl_epi64((const __m128i *)(const void *)(text + done));
        if (_mm_movemask_epi8(block) == 0) {
            _mm_storeu_si128((__m128i *)(void *)(to + done), _mm_unpacklo_epi8(block, zero));
            done += 8;
        }
    }
#endif
    for (; done < size && text[done] < 0x80; done++)
        to[done] = text[done];
    return done;
}

/* Bytes of the sequence that a leading byte begins, 0 if none may begin so. */
static inline unsigned wide_length(uint8_t first) {
    return first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
}

/* Write the UTF-16 of `size` bytes of UTF-8 to `to`, which has room for as many units; how many were written, WIDE_BAD if
 * it is no UTF-8 (overlong forms and surrogates are none). */
static inline size_t wide_from_utf8(uint16_t *to, const uint8_t *text, size_t size) {
    size_t at = wide_ascii(to, text, size), units = at;
    while (at < size) {
        const uint8_t first = text[at];
        const unsigned length = wide_length(first);
        uint32_t point = first & (0xFFu >> (length + 1));
        unsigned i;
        if (first < 0x80) {
            const size_t run = wide_ascii(to + units, text + at, size - at);
            at += run;
            units += run;
            continue;
        }
        if (length == 0 || size - at < length)
            return WIDE_BAD;
        for (i = 1; i < length; i++) {
            if ((text[at + i] & 0xC0) != 0x80)
                return WIDE_BAD;
            point = point << 6 | (text[at + i] & 0x3Fu);
        }
        if ((length == 3 && point < 0x800) || (length == 4 && point < 0x10000) || point > 0x10FFFF ||
            (point >= 0xD800 && point < 0xE000))
            return WIDE_BAD;
        if (point < 0x10000) {
            to[units++] = (uint16_t)point;
        } else {
            to[units++] = (uint16_t)(0xD7C0 + (point >> 10));
            to[units++] = (uint16_t)(0xDC00 + (point & 0x3FF));
        }
        at += length;
    }
    return units;
}

#endif
