/* Any COM method as a function of words: `this` and up to 12 arguments, each an integer or pointer of at most 64 bits.
 *
 * The System V and the Windows ABI of 64-bit machines pass every such argument in a register or a stack slot of eight
 * bytes of its own, so one prototype for each number of arguments serves all methods.  Narrow arguments must come sign- or
 * zero-extended; of a narrow result only the low bits say something.
 */
#ifndef SYNCTAPE_WORDS_H
#define SYNCTAPE_WORDS_H

#include <stdint.h>
#include <string.h>

#define SYN_MAX_WORDS 12

typedef uint64_t SynWord;
typedef void (*SynEntry)(void);

/* The entry of a slot in the vtable of an interface pointer. */
static inline SynEntry syn_entry(void *object, uint32_t slot) {
    SynEntry *vtable, entry;
    memcpy(&vtable, object, sizeof vtable);
    memcpy(&entry, vtable + slot, sizeof entry);
    return entry;
}

#define W SynWord
static inline SynWord syn_call(SynEntry f, void *o, const SynWord *a, uint32_t count) {
    switch (count) {
    case 0:
        return ((W(*)(void *))f)(o);
    case 1:
        return ((W(*)(void *, W))f)(o, a[0]);
    case 2:
        return ((W(*)(void *, W, W))f)(o, a[0], a[1]);
    case 3:
        return ((W(*)(void *, W, W, W))f)(o, a[0], a[1], a[2]);
    case 4:
        return ((W(*)(void *, W, W, W, W))f)(o, a[0], a[1], a[2], a[3]);
    case 5:
        return ((W(*)(void *, W, W, W, W, W))f)(o, a[0], a[1], a[2], a[3], a[4]);
    case 6:
        return ((W(*)(void *, W, W, W, W, W, W))f)(o, a[0], a[1], a[2], a[3], a[4], a[5]);
    case 7:
        return ((W(*)(void *, W, W, W, W, W, W, W))f)(o, a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
    case 8:
        return ((W(*)(void *, W, W, W, W, W, W, W, W))f)(o, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    case 9:
        return ((W(*)(void *, W, W, W, W, W, W, W, W, W))f)(o, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7],
                                                           a[8]);
    case 10:
        return ((W(*)(void *, W, W, W, W, W, W, W, W, W, W))f)(o, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7],
                                                              a[8], a[9]);
    case 11:
        return ((W(*)(void *, W, W, W, W, W, W, W, W, W, W, W))f)(o, a[0], a[1], a[2], a[3], a[4], a[5], a[6],
                                                                 a[7], a[8], a[9], a[10]);
    default:
        return ((W(*)(void *, W, W, W, W, W, W, W, W, W, W, W, W))f)(o, a[0], a[1], a[2], a[3], a[4], a[5], a[6],
                                                                    a[7], a[8], a[9], a[10], a[11]);
    }
}
#undef W

#endif
