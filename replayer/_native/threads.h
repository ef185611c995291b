/* Calls of several threads on one object, at the same time.
 *
 * With steps (steps.h) one thread runs at a time: the one with the highest priority that can go on.  At the start that is the
 * first lane, then the second ...; a lane drops below all others before the step that one of its calls names.  A lane that
 * waits for something in the system, or spins, lets the next one run and comes back when it can.  So the same lanes and
 * changes give the same order of accesses, as far as no lane waits for another.
 *
 * Without steps the lanes run freely: their n-th calls begin together, each after a pause that the seed says.
 *
 * Lanes are threads of their own that end with the play; nothing here needs Python.
 */
#ifndef SYNCTAPE_THREADS_H
#define SYNCTAPE_THREADS_H

#include "fault.h"
#include "player.h"

#include <stddef.h>
#include <stdint.h>

#define SYN_MAX_LANES 16

typedef enum SynStepping {
    SYN_FREELY,
    SYN_STEP_CHANGES, /* only where a change is due: the others go ten to a hundred times as fast */
    SYN_STEP_ALL
} SynStepping;

typedef enum SynWhy { SYN_CHANGED, SYN_WAITED, SYN_ENDED, SYN_SPUN } SynWhy;

/* One thread stopped and another went on. */
typedef struct SynHandOver {
    uint64_t call; /* in which, or after which, it stopped */
    uint64_t step; /* of that call: before it; 0 before the first and after the last */
    uint64_t pc;   /* the instruction that makes the step, 0 if there is none */
    uint32_t to;   /* lane that went on */
    uint32_t why;  /* SynWhy */
} SynHandOver;

/* One thread's calls. */
typedef struct SynLane {
    SynPlayer *player;       /* its own */
    SynPlay play;            /* `stream`, `numbers` and what is to be given back for its `calls` calls */
    size_t calls;
    const uint32_t *changes; /* pairs: which of its calls, from 0, and before which step; in order */
    size_t change_count;
    SynStatus status;
} SynLane;

typedef struct SynThreads {
    SynLane *lanes;
    size_t lane_count;
    int stepping; /* SynStepping; SYN_FREELY afterwards if there are no steps here */
    uint64_t seed;
    /* a descriptor for each of the lanes' handles, -1 for none: after each call it takes the place of a closed one, so that
     * closing it once more shows; then it is -2 here.  Not on Windows, where a closed handle's value is not free to take. */
    int64_t *strangers;
    size_t calls; /* of all lanes; for each of them, by its number: */
    uint64_t *entered, *left; /* when, counting from 1; 0: never */
    uint32_t *steps;
    SynHandOver *handed_over;
    size_t capacity, handed_over_count;
    /* of each lane, where all of them wait for ever: the lane that holds what it waits for, UINT32_MAX if that is not known */
    uint32_t holders[SYN_MAX_LANES];
    SynFault *stacks[SYN_MAX_LANES]; /* and its stack, as a fault record has it; NULL for none */
} SynThreads;

typedef enum SynPlayed {
    SYN_PLAYED,
    SYN_DEADLOCK,  /* no lane can ever go on: they stay behind, and all that was given must stay with them */
    SYN_NO_THREADS
} SynPlayed;

SynPlayed syn_threads_play(SynThreads *threads);

#endif
