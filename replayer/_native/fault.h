/* The fault record: what a process that dies of a fault still says, in memory that outlives it.
 *
 * A signal handler (POSIX) or vectored exception handler (Windows) writes it and then lets the process die as it would have.
 * The parent reads it (replayer/faults.py): all numbers in the machine's own order, then the native stack as text, a line
 * "PATH+0xOFFSET SYMBOL" for each frame, innermost first, down to the player's; without " SYMBOL" where none is exported.
 *
 * A handler needs a stack of its own to tell of a stack that is used up: threads that play have one.
 */
#ifndef SYNCTAPE_FAULT_H
#define SYNCTAPE_FAULT_H

#include "texts.h"

#include <stdint.h>

#define SYN_FAULT_BYTES 16384

typedef enum SynAccess { SYN_NO_ACCESS, SYN_READ, SYN_WRITE, SYN_EXECUTE } SynAccess;

typedef enum SynPlaying { SYN_NOBODY, SYN_THIS_THREAD, SYN_OTHER_THREAD } SynPlaying;

enum { SYN_STACK_OVERFLOW = SYN_USED_LATER + 1 }; /* a meaning, beside those of texts */

typedef struct SynFault {
    volatile uint32_t state; /* 0: nothing happened, 1: the stack is being written, 2: all is there */
    uint32_t code;           /* signal or NTSTATUS */
    uint64_t address;        /* that was touched; of the instruction where nothing was */
    uint64_t call;           /* whose text it was, where `meaning` is of a text */
    uint32_t access;         /* SynAccess */
    uint32_t meaning;        /* SynMeaning, or SYN_STACK_OVERFLOW */
    uint32_t playing;        /* SynPlaying: who was in a call of the player */
    uint32_t length;         /* of `stack` */
    char stack[SYN_FAULT_BYTES - 40];
} SynFault;

/* Have faults of this process written to `record`, before the handlers that are there now do what they do.  0, or -1. */
int syn_fault_watch(SynFault *record);

/* Have another thread of this process write its stack to `to`, as if it had a fault where it stands.  0, or -1 if it does not
 * answer or cannot be asked on this system; `to` may still be written to then. */
int syn_fault_ask(uint32_t thread, SynFault *to);

/* This thread is about to make calls; `frame` is an address on its stack above which nothing is the target's.  Gives what
 * must be handed to `syn_fault_leave` afterwards. */
const void *syn_fault_enter(const void *frame);
void syn_fault_leave(const void *before);

#endif
