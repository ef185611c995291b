/* Steps of native code: a thread is stopped before each access that another thread might see.
 *
 * A step is an access to memory in the target's own library, but for what is the thread's alone or never changes: its stack,
 * thread-local variables, and what the library has read-only.  So `references--` without an atomic instruction is two steps,
 * a load and a store, and an atomic one is one.  The processor's trap flag stops the thread after each instruction; the
 * handler looks at the next one.  That takes no instrumentation; an instruction costs about a microsecond, and ten on a virtual
 * machine whose host wants to know of each trap.
 *
 * There is such a flag on x86-64; Linux lets a thread set it.  Elsewhere `syn_steps_available` is 0.
 */
#ifndef SYNCTAPE_STEPS_H
#define SYNCTAPE_STEPS_H

#include "words.h"

#include <stddef.h>
#include <stdint.h>

#define SYN_WRITABLE 8 /* ranges of a library that are looked at */

typedef struct SynSteps SynSteps;

struct SynSteps {
    void (*on_step)(SynSteps *steps); /* before step `count` is made: it may wait as long as it likes */
    uint32_t count;                   /* of the steps since `syn_steps_begin` */
    uintptr_t pc;                     /* the instruction that makes the last one */
    uint32_t alike;                   /* so many accesses of one address, one after the other: a loop that waits for it */
    uint32_t traps;                   /* instructions, in the target's code and in what it calls */
    /* private */
    uint32_t outside; /* of the traps */
    uintptr_t touched;
    uintptr_t entered_with; /* stack pointer */
    uintptr_t code_low, code_high; /* of the library */
    uintptr_t low, high;           /* and of all of it */
    uintptr_t stack_high;
    uint32_t writable;
    uintptr_t from[SYN_WRITABLE], to[SYN_WRITABLE];
};

int syn_steps_available(void);

/* This thread is about to enter the target there; gives what it must call instead, at once. */
SynEntry syn_steps_begin(SynSteps *steps, SynEntry entry);

/* It is back. */
void syn_steps_end(void);

#endif
