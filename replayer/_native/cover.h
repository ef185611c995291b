/* Coverage of targets built with -fsanitize-coverage: which of their places a sequence reached, and what they compared.
 *
 * cover.c is a library of its own.  It defines what instrumented code calls, so it must be in the process, for all to see,
 * before the target is; the functions below are found by their names.  It is for Linux.
 *
 * A feature is a place of the code with the magnitude of how often it was reached (1, 2, 3, 4 to 7, 8 to 15, 16 to 31, 32 to
 * 127, more), or a comparison with how many characters it found equal.  Places are told apart by edges (trace-pc-guard,
 * inline-8bit-counters, inline-bool-flag) or by the address that calls (trace-pc).
 *
 * Instrumented code may run on any thread; the functions below are for one thread at a time.
 */
#ifndef SYNCTAPE_COVER_H
#define SYNCTAPE_COVER_H

#include <stdint.h>

/* Two values that were compared and differ; `size` is that of each, in bytes. */
typedef struct SynOperands {
    uint64_t one, other, size;
} SynOperands;

/* How many features are new since this was asked last, and (in the upper 16 bits) how many places among them were never
 * reached before.  What is counted from here on belongs to the next sequence. */
uint32_t syn_cover_collect(void);

/* Have what was counted since then forgotten instead. */
void syn_cover_forget(void);

/* The same; whether it had all the places (some, if there were many) that the last look found new. */
int syn_cover_shows(void);

/* Take the places that were reached since the last look, each with its magnitude as a bit: not more than there is room for.
 * None is new or known by that; what is counted from here on belongs to the next sequence.  Gives how many.  A place is the
 * same number in each process that loads the same files in the same order: bits 48 and up are a piece of code, 8 to 47 a
 * place in it, 0 to 7 the magnitude. */
uint32_t syn_cover_places(uint64_t *to, uint32_t room);

/* How many places were reached so far, and how many are known: of trace-pc those that were reached. */
void syn_cover_sites(uint64_t *reached, uint64_t *known);

/* Whether operands are to be noted from here on. */
void syn_cover_watch(int on);

/* Take those that were noted, not more than there is room for; the others are forgotten.  Gives how many. */
uint32_t syn_cover_operands(SynOperands *to, uint32_t room);

#endif
