/* Screening: plays a list of sequences, each on an object of its own, and notes in another list what came of each.
 *
 * Both lists are those of replayer/shared.py: how many there are, where the next one goes, then each as its length and its
 * bytes.  A result is in its list before the next sequence begins, and the journal says what is under way, so that whoever
 * maps them both knows what was played, and what killed this process, after its end.
 *
 * Handles are real: descriptors that stand for events, on Windows events.  After each call that was given one it is looked
 * whether it was closed; its value is then taken by a stranger at once, so that a second close shows.
 *
 * A result says whether the sequence is the first to show something: a place of the target's code, where something counts
 * them (cover.h); a call with what it answered, after another one with its answer; a state that the target names itself.  Of
 * a method 24 answers are told apart, and no more than some thousand such pairs, and states, are new: a target that counts
 * upward is not interesting for ever.  A sequence that shows a new place or state is played some times more, before its
 * result is in the list, to find calls that it does not need for that; and one that shows anything once more where
 * comparisons can be noted: what the target compared goes with it.
 *
 * One thread at a time uses a SynScreen.  Nothing here needs Python.
 */
#ifndef SYNCTAPE_SCREEN_H
#define SYNCTAPE_SCREEN_H

#include "cover.h"
#include "player.h"

#define SYN_SYMBOLS 8 /* handles 0 to 7 are there; a sequence with others ends with SYN_NO_HANDLE */

typedef int32_t (*SynFactory)(void **ppv);
typedef uint64_t (*SynState)(void *object); /* a number for the state that an object is in */

/* The functions of cover.h; all NULL where nothing counts. */
typedef struct SynCover {
    uint32_t (*collect)(void);
    void (*watch)(int on);
    uint32_t (*operands)(SynOperands *to, uint32_t room);
    int (*shows)(void);
} SynCover;

#define SYN_MAX_OPERANDS 64
#define SYN_MAX_TRIMMED 500 /* calls of a sequence that is made shorter */

/* A result, as it lies in the list: this, then `made` answers of 8 bytes, then `compared` SynOperands, then the numbers of
 * `needed` calls, of 2 bytes; of all if there are none. */
typedef struct SynScreened {
    uint32_t made;         /* calls */
    uint32_t status;       /* SynStatus: SYN_DONE if all were */
    int64_t released;      /* what the last Release answered, -1 if none was made */
    uint64_t elapsed;      /* ns */
    uint32_t left_open;    /* bit n: handle n was given before the protocol had ended, and is open at the end */
    uint32_t closed_twice; /* bit n: handle n was closed more than once */
    uint32_t odd;          /* 0 if nothing of this is out of the ordinary: all calls made, none answered a negative number,
                              nothing left, nothing open, not slow */
    uint16_t fresh;        /* how much it showed for the first time */
    uint16_t places;       /* and how much of this is more than a number of times: places, states; pairs where nothing counts */
    uint32_t compared;
    uint32_t needed;
} SynScreened;

typedef enum SynScreenStatus {
    SYN_SCREENED,      /* all are played */
    SYN_NO_ROOM,       /* the list of results must have room for `needed` bytes */
    SYN_REFUSED,       /* the factory gave no object of the interface: `answer` */
    SYN_NO_LIST,       /* that is no list, or not whole */
    SYN_NO_RESOURCES   /* no memory or no handles */
} SynScreenStatus;

typedef struct SynScreen SynScreen;

typedef struct SynBatch {
    SynPlayer *player;
    const uint8_t *sequences;
    size_t sequences_size;
    uint8_t *results;
    size_t results_size;
    volatile uint64_t *journal; /* two numbers: the phase, sequence << 32 | call */
    uint64_t number;            /* of the next sequence to play; kept up to date */
    uint64_t stop;              /* number of the one before which to end */
    uint64_t slow;              /* ns from which a sequence is odd; 0: never */
    size_t needed;
    int32_t answer;
} SynBatch;

/* `factory` gives objects that speak the interface `iid`; `terminal` says of each of `slots` methods whether it ends the
 * protocol: handles that are given after that are nobody's to close.  `cover` and `state` may be NULL.  NULL if there is no
 * memory or no handle. */
SynScreen *syn_screen_new(SynFactory factory, const uint8_t *iid, const uint8_t *terminal, size_t slots,
                          const SynCover *cover, SynState state);
void syn_screen_free(SynScreen *screen);

SynScreenStatus syn_screen(SynScreen *screen, SynBatch *batch);

#endif
