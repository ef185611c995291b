/* A sync provider: calls an IMAPISyncProgressCallback that it was given, from threads of its own. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

typedef struct Callback Callback;
struct Callback {
    const struct {
        int32_t (*QueryInterface)(Callback *, const void *riid, void **ppv);
        uint32_t (*AddRef)(Callback *);
        uint32_t (*Release)(Callback *);
        int32_t (*Progress)(Callback *, const uint16_t *text, uint32_t index, uint32_t max);
        int32_t (*Error)(Callback *, int32_t hr, const uint16_t *text);
        int32_t (*Done)(Callback *, void *event, int32_t hr);
    } *vtable;
};

typedef struct {
    Callback *callback;
    uint32_t number, calls, failures;
} Work;

static const uint16_t TEXT[] = {'S', 't', 'e', 'p', ' ', 0xD83D, 0xDE00, ' ', 0xD800, 0};

/* Takes a reference, reports, gives it back: what a well-mannered provider's thread does. */
static void *counted(void *argument) {
    Work *work = argument;
    Callback *callback = work->callback;
    callback->vtable->AddRef(callback);
    for (uint32_t i = 0; i < work->calls; i++)
        work->failures += callback->vtable->Progress(callback, i % 2 ? TEXT : NULL, i, work->number) != 0;
    work->failures += callback->vtable->Done(callback, (void *)(uintptr_t)(work->number + 1), -1) != 0;
    callback->vtable->Release(callback);
    return NULL;
}

/* Runs `threads` of them at once, each making `calls` calls; gives the number of failures. */
uint32_t synchronize(Callback *callback, uint32_t threads, uint32_t calls) {
    pthread_t *ids = calloc(threads, sizeof *ids);
    Work *works = calloc(threads, sizeof *works);
    uint32_t failures = 0;
    for (uint32_t n = 0; n < threads; n++) {
        works[n] = (Work){callback, n, calls, 0};
        pthread_create(&ids[n], NULL, counted, &works[n]);
    }
    for (uint32_t n = 0; n < threads; n++) {
        pthread_join(ids[n], NULL);
        failures += works[n].failures;
    }
    free(works);
    free(ids);
    return failures;
}

/* References only: `calls` pairs of AddRef and Release. */
static void *balanced(void *argument) {
    Work *work = argument;
    for (uint32_t i = 0; i < work->calls; i++) {
        work->callback->vtable->AddRef(work->callback);
        work->callback->vtable->Release(work->callback);
    }
    return NULL;
}

void count(Callback *callback, uint32_t threads, uint32_t calls) {
    pthread_t *ids = calloc(threads, sizeof *ids);
    Work work = {callback, 0, calls, 0};
    for (uint32_t n = 0; n < threads; n++) pthread_create(&ids[n], NULL, balanced, &work);
    for (uint32_t n = 0; n < threads; n++) pthread_join(ids[n], NULL);
    free(ids);
}

/* Leaves rubbish above the low half of each 32-bit argument, as a compiler may. */
typedef int32_t (*WideProgress)(Callback *, const uint16_t *, uint64_t, uint64_t);
typedef int32_t (*WideError)(Callback *, uint64_t, const uint16_t *);
int32_t rubbish_above(Callback *callback, uint64_t index, uint64_t max, uint64_t hr) {
    int32_t first = ((WideProgress)(void *)callback->vtable->Progress)(callback, TEXT, index, max);
    return first ? first : ((WideError)(void *)callback->vtable->Error)(callback, hr, NULL);
}

static const uint16_t PLAIN[] = {'D', 'o', 'w', 'n', 'l', 'o', 'a', 'd', 'i', 'n', 'g', ' ', 'm', 'e', 's', 's',
                                 'a', 'g', 'e', ' ', '1', '7', ' ', 'o', 'f', ' ', '2', '0', '0', '0', 0};

/* Nanoseconds for `calls` Progress calls, on this thread or on one of its own; for measuring by hand. */
static void *timed(void *argument) {
    Work *work = argument;
    for (uint32_t i = 0; i < work->calls; i++)
        work->callback->vtable->Progress(work->callback, work->number ? PLAIN : NULL, i, work->calls);
    return NULL;
}

int64_t measure(Callback *callback, uint32_t calls, int foreign, int with_text) {
    Work work = {callback, with_text, calls, 0};
    struct timespec start, end;
    pthread_t id;
    clock_gettime(CLOCK_MONOTONIC, &start);
    if (foreign) {
        pthread_create(&id, NULL, timed, &work);
        pthread_join(id, NULL);
    } else
        timed(&work);
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (end.tv_sec - start.tv_sec) * INT64_C(1000000000) + end.tv_nsec - start.tv_nsec;
}

/* Calls for ever, on a thread that outlives the interpreter. */
static void *endless(void *argument) {
    Callback *callback = argument;
    for (;;) callback->vtable->Progress(callback, TEXT, 0, 0);
    return NULL;
}

void call_for_ever(Callback *callback) {
    pthread_t id;
    pthread_create(&id, NULL, endless, callback);
    pthread_detach(id);
}
