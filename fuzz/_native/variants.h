/* Variants of packed sequences: what the mutators of fuzz/mutators.py do to calls, done to their bytes.
 *
 * A sequence is packed as replayer/batches.py says: records of threads, then an enter for each call, texts where they stand.
 * All calls of a sequence are on one thread, and have arguments that fit their types; so have its variants.
 *
 * Nothing here knows a method: what may be called when, which values there are to try, and which mutators are drawn how often
 * are given as data.  All chance comes from a seed, so the same is made of the same.
 */
#ifndef SYNCTAPE_VARIANTS_H
#define SYNCTAPE_VARIANTS_H

#include <stddef.h>
#include <stdint.h>

#define SYN_MOST_ARGUMENTS 12
#define SYN_MOST_METHODS 1024
#define SYN_MOST_STATES 64
#define SYN_ILLEGAL 0xFF /* in place of a state */
#define SYN_MOST_USED 8

/* The mutators, by their numbers in a table of turns; fuzz/variants.py has their names. */
typedef enum SynMutator {
    SYN_DROP,
    SYN_DROP_RUN,
    SYN_DUPLICATE,
    SYN_MOVE,
    SYN_SWAP,
    SYN_SPLICE,
    SYN_REPEAT_RUN,
    SYN_TRUNCATE,
    SYN_EXTEND,
    SYN_INSERT_LEGAL,
    SYN_INSERT_ILLEGAL,
    SYN_CALL_AFTER_END,
    SYN_END_TWICE,
    SYN_COUNT_UP,
    SYN_CHANGE_ARGUMENT,
    SYN_CHANGE_TEXT,
    SYN_NULL_ARGUMENT,
    SYN_RELATE_ARGUMENTS,
    SYN_COPY_ARGUMENT,
    SYN_MATCH_COMPARISON,
    SYN_MUTATORS
} SynMutator;

/* Values to try for one argument, each packed.  The last `learned` of them are what the target is known to look for, and are
 * tried more often. */
typedef struct SynPool {
    const uint8_t **values;
    uint32_t *sizes;
    uint32_t count, learned;
} SynPool;

typedef struct SynMethod {
    uint8_t count; /* of arguments */
    uint8_t types[SYN_MOST_ARGUMENTS]; /* SynType of replayer/_native/player.h, without flags */
    uint8_t never_null[SYN_MOST_ARGUMENTS]; /* though NULL can be given */
    uint8_t terminal;                       /* it ends the protocol */
    uint8_t called;                         /* it is not one of IUnknown's */
    int8_t one, other;                      /* two numbers that have to do with each other, -1: none */
    SynPool pools[SYN_MOST_ARGUMENTS];
} SynMethod;

/* What variants are made by.  Whoever makes one keeps all that it points to. */
typedef struct SynKnown {
    SynMethod methods[SYN_MOST_METHODS];
    uint32_t method_count;
    uint8_t next[SYN_MOST_STATES][SYN_MOST_METHODS];  /* the state after a call, SYN_ILLEGAL if it may not be made */
    uint8_t moves[SYN_MOST_STATES][SYN_MOST_METHODS]; /* the same whether or not it may; SYN_ILLEGAL if nobody knows */
    uint32_t state_count, start;
    int series; /* the method that counts up from `one` to `other`; -1: none */
} SynKnown;

typedef struct SynPacked {
    const uint8_t *at;
    size_t size;
} SynPacked;

/* Two packed values that the target compared. */
typedef struct SynCompared {
    const uint8_t *one, *other;
    uint32_t one_size, other_size;
} SynCompared;

/* A sequence of which variants `from` up to `until` are wanted; variant 0 is the sequence itself.  `number` is that of variant
 * 0 in its batch.  One that is not `plain` (its calls are on several threads, say) is only handed on. */
typedef struct SynSource {
    const uint8_t *packed;
    size_t size;
    uint64_t number;
    uint32_t from, until;
    int plain;
    const SynCompared *compared;
    uint32_t compared_count;
} SynSource;

typedef struct SynWanted {
    const SynSource *sources;
    size_t source_count;
    const SynPacked *avoided; /* calls that are not made: nor is what has one of them */
    size_t avoided_count;
    uint64_t seed;
    const uint8_t *turns; /* SynMutator */
    size_t turn_count;
    int legal; /* whether a variant ends before a call that may not be made */
} SynWanted;

/* What was made: packed sequences as they lie in a list (replayer/shared.py), each behind its length; and of each its number,
 * which source it is of, how many calls it has, whether the protocol ends in it, and its mutators; then which methods all
 * these calls are of, and how often a method was called in a state (state * methods + method). */
typedef struct SynMade {
    uint8_t *list;
    size_t size, room;
    uint32_t count;
    uint32_t *numbers, *origins, *calls;
    uint8_t *ends;
    uint8_t *used_count;
    uint8_t (*used)[SYN_MOST_USED];
    uint16_t *slots;
    size_t slot_count, slot_room;
    uint32_t *steps;
} SynMade;

/* 0; -1 if there is no memory, -2 if a source is not as it should be.  `made` is to be freed in any case. */
int syn_variants(const SynKnown *known, const SynWanted *wanted, SynMade *made);
void syn_made_free(SynMade *made);

#endif
