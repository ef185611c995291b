/* Texts as a target is given them: where a mistake with one faults, and says which text it was.
 *
 *                 unguarded   ring                       strict
 *   where         an arena    flush at an inaccessible page, in distinct slots that are used in turn
 *   the target    may write   only reads (a second view)
 *   afterwards    -           0xDD over text and NUL     inaccessible until the slot is used again
 *   slots         -           64                         1024, so that a use long after the call still faults
 *
 * Poison covers the NUL too, so that a stale strlen runs into the page behind.  With a seed some texts stand flush at the
 * start of their page instead, an inaccessible one before: reading [-1] faults there, reading past the end does not.  A text
 * that is longer than a page gets a mapping of its own, which stays inaccessible for as long as memory allows.
 *
 * One thread at a time uses a SynTexts.  `syn_texts_meaning` may be asked by a signal handler.
 */
#ifndef SYNCTAPE_TEXTS_H
#define SYNCTAPE_TEXTS_H

#include <stddef.h>
#include <stdint.h>

typedef enum SynGuard { SYN_UNGUARDED, SYN_RING, SYN_STRICT } SynGuard;

typedef enum SynMeaning {
    SYN_NO_TEXT,
    SYN_PAST_END,     /* read past the end of the text of call #k */
    SYN_BEFORE_START, /* read before the start of it */
    SYN_WROTE,        /* wrote to it */
    SYN_USED_LATER    /* used it after call #k had returned */
} SynMeaning;

typedef struct SynTexts SynTexts;

/* `slots` 0: as many as the table says.  `seed` 0: every text at the end of its page.  NULL if there is no memory. */
SynTexts *syn_texts_new(SynGuard guard, uint32_t slots, uint64_t seed);
void syn_texts_free(SynTexts *texts);

/* The text of `units` UTF-16 units, with a NUL behind it, as an argument of call number `call`; NULL if there is no memory. */
const uint16_t *syn_texts_place(SynTexts *texts, const uint16_t *text, size_t units, uint64_t call);

/* The call has returned: so have all texts that were placed since the last time. */
void syn_texts_returned(SynTexts *texts);

/* What a fault at this address means, and for which call.  Looks at all SynTexts of the process; async-signal-safe. */
SynMeaning syn_texts_meaning(uintptr_t address, int write, uint64_t *call);

#endif
