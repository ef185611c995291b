/* The compiled player: makes the calls of a sequence on an interface pointer, without going back to Python in between.
 *
 * A sequence is a stream of records as docs/trace-format.md spells them, without a header.  TEXT records define texts, ENTER
 * records are calls to make, all others are read over; checks are read over, not verified.  Nothing in a stream is believed:
 * whatever is malformed, or not what the interface's types carry, ends the sequence with a status before that call is made.
 *
 *     SynPlayer *player = syn_player_new(description, size, SYN_RING, 0, 0);
 *     SynPlay play = {0};
 *     play.object = pointer, play.references = 1;
 *     play.stream = records, play.size = bytes;
 *     play.values = answers, play.capacity = 1000;
 *     status = syn_play(player, &play);          (play.made calls were made, their answers are in `answers`)
 *     syn_play_release(player, &play);           (the references that are left)
 *
 * A batch is one stream: its sequences follow each other, texts that are defined in one are known in the next (they are
 * widened once), and each is played by a `syn_play` of its own.  `syn_player_forget` begins a new batch.
 *
 * One thread at a time uses a SynPlayer; the threads may change from call to call.  Nothing here needs Python.
 */
#ifndef SYNCTAPE_PLAYER_H
#define SYNCTAPE_PLAYER_H

#include "texts.h"
#include "words.h"

#include <stddef.h>
#include <stdint.h>

/* An interface's description, as bytes: for each slot of the vtable its return type, the number of its parameters, and for
 * each of them a type with flags.  A method that cannot be called from a description has SYN_UNSUPPORTED as return type. */
enum SynType {
    SYN_VOID,
    SYN_BOOL,
    SYN_I32,
    SYN_U32,
    SYN_I64,
    SYN_U64,
    SYN_HRESULT,
    SYN_TEXT,
    SYN_HANDLE,
    SYN_POINTER,
    SYN_IID,
    SYN_TYPES,
    SYN_TYPE = 0x0F,       /* mask */
    SYN_BY_ADDRESS = 0x40, /* an integer handed over by address, NULL for nil */
    SYN_OUT = 0x80,        /* a scalar that the target fills; not among a record's arguments */
    SYN_UNSUPPORTED = 0xFF
};

#define SYN_MAX_SLOTS 1024

typedef enum SynStatus {
    SYN_DONE,       /* the stream is played to its end */
    SYN_STOPPED,    /* as `stop_at_handles` asks; play on from `read` */
    SYN_FULL,       /* `capacity` calls are made; play on from `read` */
    SYN_MALFORMED,  /* no such records, or a text or slot that does not exist */
    SYN_UNFIT,      /* arguments that the interface's types cannot carry */
    SYN_NO_HANDLE,  /* a handle's symbol that is not in the table */
    SYN_NO_MEMORY
} SynStatus;

/* What a symbol of a handle stands for in this process.  Negative symbols are their own values and need not be there. */
typedef struct SynHandle {
    int64_t symbol;
    uint64_t value;
} SynHandle;

typedef struct SynPlay SynPlay;

struct SynPlay {
    /* what to play, on what; the sequence may be played in several pieces (see `read`) */
    void *object;
    uint32_t references; /* that the player holds: 1 for the object as a factory gives it; kept up to date */
    const uint8_t *stream;
    size_t size;
    uint64_t first; /* number of the first call, for the journal and for what is said of texts */
    const uint64_t *numbers; /* of each call; NULL where they follow each other from `first` on */
    const SynHandle *handles;
    size_t handle_count;

    /* what to give back, each for `capacity` calls; NULL for what nobody wants */
    size_t capacity;   /* 0: as many as there are */
    int64_t *values;   /* what the calls returned, extended as their types say; 0 for void */
    uint64_t *elapsed; /* ns; the clock is only read if this is asked for */
    uint64_t *outputs; /* SYN_MAX_WORDS for each call: its output parameters in their order */
    uint32_t *slots;   /* which methods they were */
    uint64_t *states;  /* what `state` says of the object after each; NULL if there is no `state` */
    uint64_t (*state)(void *object);

    /* on the way */
    volatile uint64_t *journal; /* gets `journal_base` and a call's number before it is made; may be NULL */
    uint64_t journal_base;
    int stop_at_handles;        /* return after each call from the first one on that was given a handle */
    int handed;                 /* whether one was; kept up to date */
    uint64_t given;             /* bit n: the n-th of `handles` was given, for the first 64; kept up to date */

    /* how far it came */
    size_t made;
    size_t read; /* bytes of the stream: up to the call that was not made, or after the last one that was */

    /* who is told, just before call `made` is made and just after it; NULL for nobody.  `entering` gives where to make it */
    SynEntry (*entering)(SynPlay *play, SynEntry entry);
    void (*left)(SynPlay *play);
    void *context; /* theirs */
};

typedef struct SynPlayer SynPlayer;

/* NULL if the description is none or there is no memory.  `slots` and `seed`: see syn_texts_new. */
SynPlayer *syn_player_new(const uint8_t *description, size_t size, SynGuard guard, uint32_t slots, uint64_t seed);
void syn_player_free(SynPlayer *player);

/* Make the calls.  `references` counts AddRef (slot 1), Release (slot 2) and the QueryInterface (slot 0) that succeeded and
 * gave the object itself; another pointer that QueryInterface gave is released at once.  Calls after the last Release are
 * made, too. */
SynStatus syn_play(SynPlayer *player, SynPlay *play);

/* Give back the references that are left; what the last Release answered, -1 if none was made. */
int64_t syn_play_release(SynPlay *play);

/* Forget the texts that records have defined. */
void syn_player_forget(SynPlayer *player);

#endif
