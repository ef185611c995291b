/* Record what a provider calls on a COM callback, in one line:
 *
 *     callback = synctape_record(callback, "run.tape");
 *
 * Every call on what comes back is written to a new trace file and passed on to the callback that went in, the answer
 * back unchanged.  The file survives the process, however it ends; `synctape show run.tape` prints it.  Calls may come
 * from any thread, overlap and nest.  Nothing that goes wrong in recording reaches the caller: when the disk is full
 * recording stops, and calls are still passed on.
 *
 * For C99 and C++, 64 bits, Linux and Windows.  Compile synctape_record.c with your sources; it needs the two headers
 * beside it and nothing else (on systems with an older glibc -pthread).  The format of the file: docs/trace-format.md.
 */
#ifndef SYNCTAPE_RECORD_H
#define SYNCTAPE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A recording callback for `inner`, an IMAPISyncProgressCallback.  It takes over the caller's reference to `inner`, and
 * has a count of its own, of which the caller has one: the last Release ends the trace and releases `inner`.
 *
 * QueryInterface for IMAPISyncProgressCallback and IUnknown gives the recording callback itself, anything else
 * E_NOINTERFACE; it is never passed on, and neither are AddRef and Release.  They are recorded like other calls.
 *
 * `path` is UTF-8.  If the file exists, or cannot be made, `inner` itself comes back: see synctape_record_with.
 */
void *synctape_record(void *inner, const char *path);

/* --- another interface, and what else one may want to say ---------------------------------------------------- */

typedef enum synctape_type {
    SYNCTAPE_VOID, /* of returned values only */
    SYNCTAPE_BOOL, /* 32 bits */
    SYNCTAPE_I32,
    SYNCTAPE_U32,
    SYNCTAPE_I64,
    SYNCTAPE_U64,
    SYNCTAPE_HRESULT,
    SYNCTAPE_TEXT,    /* const WCHAR *: UTF-16 up to a NUL */
    SYNCTAPE_HANDLE,  /* in a trace a symbol, never the value */
    SYNCTAPE_POINTER, /* likewise */
    SYNCTAPE_IID      /* const GUID * */
} synctape_type;

typedef struct synctape_parameter {
    const char *name;
    uint8_t type;     /* a synctape_type */
    uint8_t out;      /* 1: the address of a scalar that the callee fills; it is set to 0 before the call */
    uint8_t nullable; /* 1: the documentation allows NULL */
    uint8_t pointer;  /* 1: an integer handed over by address, NULL for none */
} synctape_parameter;

typedef struct synctape_method {
    const char *name;
    uint8_t returns;  /* a synctape_type, but no text and no IID */
    uint8_t count;    /* of parameters, at most SYNCTAPE_MAX_PARAMETERS */
    const synctape_parameter *parameters;
} synctape_method;

typedef struct synctape_interface {
    const char *name;
    const char *iid; /* "{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}" */
    const struct synctape_interface *base;
    unsigned count; /* of its own methods; with those of its bases at most SYNCTAPE_MAX_SLOTS */
    const synctape_method *methods;
} synctape_interface;

enum { SYNCTAPE_MAX_PARAMETERS = 12, SYNCTAPE_MAX_SLOTS = 64, SYNCTAPE_PROBLEM = 160 };

extern const synctape_interface synctape_IUnknown, synctape_IMAPISyncProgressCallback;

/* All zeros is what synctape_record takes. */
typedef struct synctape_options {
    const synctape_interface *interface_; /* NULL: IMAPISyncProgressCallback.  It need not outlive the call. */
    void *sync_event;                     /* the handle that the trace shows as the sync's own event */
    void *const *sync_event_at;           /* or where it will stand when it is first seen; readable till the end */
    const uint32_t *sync_flags;           /* MAPISIB.ulFlags; NULL: unknown */
    const void *header;                   /* the header as a packed array, without its check; NULL: one from facts */
    size_t header_size;
    int64_t (*clock)(void *context); /* nanoseconds; NULL: the system's monotonic clock.  It is called under a lock. */
    void *clock_context;
    uint64_t max_size; /* bytes on the disk, SYNCTAPE_LEAST_SIZE or more: several files, run.0001.tape and so on, of which
                        * the first is kept and the oldest others are dropped; none of that name may be there.  0: one file */
    int ring;          /* 1: the first one is dropped, too */
    int64_t sync_ns;   /* what was written is handed to the disk by the first call that comes so long after the last time,
                        * and at the end; SYNCTAPE_SYNC_EACH: by each event, before the call goes on; 0: by the system */
} synctape_options;

enum { SYNCTAPE_LEAST_SIZE = 1 << 20, SYNCTAPE_SYNC_EACH = -1 };

/* The same with options, any of which may be NULL.  NULL comes back, and `inner` stays the caller's, where there can be
 * no recording; `problem` (NULL, or SYNCTAPE_PROBLEM bytes) then says why.
 */
void *synctape_record_with(void *inner, const char *path, const synctape_options *options, char *problem);

/* For who made a recording callback and holds a reference; `recording` is what came back. */

/* From now on this handle is the sync's own event, unless it was seen as another. */
void synctape_record_sync_event(void *recording, void *handle);

/* Hand what was written to the disk now, from any thread: for a timer, where calls may stay away for long. */
void synctape_record_flush(void *recording);

/* End the trace and give up a reference, without a record of that.  Calls of others are passed on and not recorded. */
void synctape_record_close(void *recording);

/* Why recording stopped early; NULL if it did not.  This and the count can be asked for when the last is gone, too. */
const char *synctape_record_stopped(void *recording);

uint32_t synctape_record_references(void *recording);

#ifdef __cplusplus
}

/* With the callback's own type, for C++. */
template <typename Interface>
inline Interface *synctape_record(Interface *inner, const char *path) {
    return static_cast<Interface *>(synctape_record(static_cast<void *>(inner), path));
}
#endif

#endif
