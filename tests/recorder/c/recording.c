/* A provider's process around synctape_record.c: recording MODE PATH [NUMBER]
 *
 * SYNCTAPE_SIZE, SYNCTAPE_RING and SYNCTAPE_SYNC in the environment are the options of that kind.
 */
#define _GNU_SOURCE
#include "synctape_record.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#endif

typedef struct Callback Callback;
struct Callback {
    const struct entries {
        int32_t (*QueryInterface)(Callback *, const void *, void **);
        uint32_t (*AddRef)(Callback *);
        uint32_t (*Release)(Callback *);
        int32_t (*Progress)(Callback *, const uint16_t *, uint32_t, uint32_t);
        int32_t (*Error)(Callback *, int32_t, const uint16_t *);
        int32_t (*Done)(Callback *, void *, int32_t);
    } *vtable;
};

#ifdef COUNT_SYNCS
static unsigned syncs;
int fsync(int descriptor);
int fsync(int descriptor) {
    (void)descriptor;
    __atomic_add_fetch(&syncs, 1, __ATOMIC_RELAXED);
    return 0;
}
#endif

static void *record(Callback *inner, const char *path) {
    const char *size = getenv("SYNCTAPE_SIZE"), *ring = getenv("SYNCTAPE_RING"), *sync = getenv("SYNCTAPE_SYNC");
    synctape_options options;
    memset(&options, 0, sizeof options);
    if (!size && !sync) return synctape_record(inner, path);
    options.max_size = size ? strtoull(size, NULL, 10) : 0;
    options.ring = ring != NULL;
    options.sync_ns = sync ? strtoll(sync, NULL, 10) : 0;
    return synctape_record_with(inner, path, &options, NULL);
}

/* --- the host ------------------------------------------------------------------------------------------------ */

static unsigned references = 1, calls;
static int reporting, nesting, aborting;
static unsigned done_events[64];
static Callback *recorded;

static void report(unsigned thread) {
    char line[32];
    int size = snprintf(line, sizeof line, "%u %u\n", thread, ++done_events[thread]);
    if (write(1, line, (size_t)size) != size) _exit(9);
}

/* The error that a system call has left belongs to the caller and the host; the recorder must not touch it. */
enum { OF_CALLER = 55, OF_HOST = 77 };
#ifdef _WIN32
static void leave_error(int error) { SetLastError((DWORD)error); }
static int left_error(void) { return (int)GetLastError(); }
#else
static void leave_error(int error) { errno = error; }
static int left_error(void) { return errno; }
#endif

static int32_t Progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t max) {
    (void)self;
    if (left_error() != OF_CALLER) abort();
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    if (reporting) report(max);
    if (aborting) abort();
    if (nesting && index % 7 == 3) recorded->vtable->Error(recorded, (int32_t)index, text);
    leave_error(OF_HOST);
    return (int32_t)(index & 1);
}

static int32_t Error(Callback *self, int32_t hr, const uint16_t *text) {
    (void)self, (void)text;
    return hr;
}

static int32_t Done(Callback *self, void *event, int32_t hr) {
    (void)self, (void)event, (void)hr;
    return 0;
}

static uint32_t AddRef(Callback *self) {
    (void)self;
    return ++references;
}

static uint32_t Release(Callback *self) {
    (void)self;
    return --references;
}

static const struct entries HOST = {NULL, AddRef, Release, Progress, Error, Done};
static Callback host = {&HOST};

/* --- the provider -------------------------------------------------------------------------------------------- */

static void wide(uint16_t *to, const char *from) {
    while ((*to++ = (uint8_t)*from++)) continue;
}

static void call(uint32_t index, uint32_t thread, uint32_t texts) {
    char line[32];
    uint16_t text[32];
    snprintf(line, sizeof line, "message %u", (unsigned)(index % texts));
    wide(text, line);
    leave_error(OF_CALLER);
    if (recorded->vtable->Progress(recorded, text, index, thread) != (int32_t)(index & 1)) abort();
    if (left_error() != OF_HOST) abort();
}

static void *report_for_ever(void *argument) {
    uint32_t thread = (uint32_t)(uintptr_t)argument, index;
    for (index = 0;; index++) {
        call(index, thread, 5000);
        report(thread);
    }
    return NULL;
}

static unsigned count; /* calls of a thread */

static void *provide(void *argument) {
    uint32_t thread = (uint32_t)(uintptr_t)argument, index;
    recorded->vtable->AddRef(recorded);
    for (index = 0; index < count; index++) call(index, thread, 20);
    recorded->vtable->Release(recorded);
    return NULL;
}

static void in_threads(unsigned number, void *(*function)(void *)) {
    pthread_t threads[64];
    uintptr_t n;
    for (n = 0; n < number; n++) pthread_create(&threads[n], NULL, function, (void *)n);
    for (n = 0; n < number; n++) pthread_join(threads[n], NULL);
}

#ifndef _WIN32
static void on_timer(int signal) {
    static uint32_t index;
    int error = left_error();
    (void)signal;
    leave_error(OF_CALLER);
    recorded->vtable->Progress(recorded, NULL, index++, 99);
    leave_error(error);
}
#endif

int main(int argc, char **argv) {
    const char *mode = argv[1];
    unsigned number = argc > 3 ? (unsigned)atoi(argv[3]) : 1;
    if (argc < 3) return 2;
#ifndef _WIN32
    if (!strcmp(mode, "limited")) {
        struct rlimit limit = {1 << 20, 1 << 20};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
#endif
    recorded = record(&host, argv[2]);
    if (!recorded) return 7;
    if (!strcmp(mode, "killed")) {
        reporting = 1;
        in_threads(number, report_for_ever);
    } else if (!strcmp(mode, "crash")) {
        aborting = 1;
        call(1, 0, 1);
    } else if (!strcmp(mode, "exit")) {
        call(1, 0, 1);
        return 3; /* without Release */
    } else if (!strcmp(mode, "threads")) {
        count = 2000;
        nesting = 1;
        in_threads(number, provide);
#ifndef _WIN32
    } else if (!strcmp(mode, "forks")) {
        int status;
        pid_t child;
        call(1, 0, 1);
        child = fork();
        if (!child) {
            for (count = 0; count < 50000; count++) call(count, 1, 7);
            return recorded->vtable->Release(recorded) || references != 0 || calls != 50001;
        }
        if (waitpid(child, &status, 0) != child || status) return 4;
        if (number != 1) _exit(0); /* what the child has left in the file is there to see */
        call(3, 0, 1);
    } else if (!strcmp(mode, "signals")) {
        struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
        signal(SIGALRM, on_timer);
        setitimer(ITIMER_REAL, &often, NULL);
        for (count = 0; count < 100000; count++) call(count, 0, 1000);
        setitimer(ITIMER_REAL, &never, NULL);
#endif
    } else if (!strcmp(mode, "few")) {
        for (count = 0; count < number; count++) call(count, 0, 20);
    } else /* "limited", "full", "unwritable" */
        for (count = 0; count < 200000; count++) call(count, 0, 20);
    if (recorded->vtable->Release(recorded) != 0) return 5;
    if (references != 0) return 6;
#ifdef COUNT_SYNCS
    calls = syncs;
#endif
    printf("%u\n", calls);
    return 0;
}
