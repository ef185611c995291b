/* The loops of native_recording.py: a provider calls a host through a bare forward, and through the recorder.
 *
 * Prints the median CPU time of a call in nanoseconds, a line for each case: bare; recorded with one of 200 texts of 40
 * characters, of 2,000, with NULL, and with a text that was never seen.  Then the mean of those with one of 200 texts, since
 * changes of files are rare and count: recorded to one file, to several of 8 MiB in all, and to a ring of 8 MiB.
 */
#define _POSIX_C_SOURCE 200809L
#include "callback.h"
#include "synctape_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _WIN32
#include <windows.h>
#endif

static int32_t forward(callback *self, const uint16_t *text, uint32_t index, uint32_t max) {
    return self->inner->vtable->Progress(self->inner, text, index, max);
}

static const entries FORWARD = {NULL, count, count, forward, NULL, NULL};

enum { TEXTS = 2000, UNITS = 40, CALLS = 2000, NEW_CALLS = 150, ROUNDS = 400, CASES = 5, WAYS = 3 };
static uint16_t texts[TEXTS][UNITS + 1];

/* CPU time: a busy machine matters less.  Under Windows it is too coarse. */
static double now(void) {
#ifdef _WIN32
    LARGE_INTEGER time, frequency;
    QueryPerformanceCounter(&time);
    QueryPerformanceFrequency(&frequency);
    return (double)time.QuadPart * 1e9 / (double)frequency.QuadPart;
#else
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
#endif
}

/* With the first `distinct` texts in turn; 0: NULL. */
static double known(callback *c, uint32_t distinct) {
    double start = now();
    uint32_t n, failed = 0;
    for (n = 0; n < CALLS; n++)
        failed += c->vtable->Progress(c, distinct ? texts[n % distinct] : NULL, n % 2000, 2000) != 0;
    if (failed) exit(1);
    return (now() - start) / CALLS;
}

static double unseen(callback *c, uint32_t round) {
    uint16_t text[UNITS + 1];
    uint32_t n, k;
    double start;
    memcpy(text, texts[0], sizeof text);
    start = now();
    for (n = 0; n < NEW_CALLS; n++) {
        for (k = 0; k < 4; k++) text[k] = (uint16_t)('a' + ((round * NEW_CALLS + n) >> (4 * k) & 15));
        c->vtable->Progress(c, text, n, 2000);
    }
    return (now() - start) / NEW_CALLS;
}

static int ascending(const void *a, const void *b) {
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv) {
    static double times[CASES][ROUNDS];
    double sums[WAYS] = {0};
    callback host = {&HOST, NULL}, bare = {&FORWARD, NULL}, *recorded, *several[WAYS];
    synctape_options bounded = {0};
    uint32_t n, k, round;
    bare.inner = &host;
    for (n = 0; n < TEXTS; n++) {
        char line[64];
        snprintf(line, sizeof line, "Downloading message %04u of 2000 in Inbox", n);
        for (k = 0; k < UNITS; k++) texts[n][k] = (uint16_t)line[k];
    }
    if (argc < 4) return 2;
    several[0] = recorded = synctape_record_with(&host, argv[1], NULL, NULL);
    bounded.max_size = 8 << 20;
    several[1] = synctape_record_with(&host, argv[2], &bounded, NULL);
    bounded.ring = 1;
    several[2] = synctape_record_with(&host, argv[3], &bounded, NULL);
    for (n = 0; n < WAYS; n++)
        if (!several[n]) return 3;
    for (round = 0; round < ROUNDS; round++) {
        times[0][round] = known(&bare, 200);
        times[1][round] = known(recorded, 200);
        times[2][round] = known(recorded, TEXTS);
        times[3][round] = known(recorded, 0);
        times[4][round] = unseen(recorded, round);
        for (n = 0; n < WAYS; n++) sums[n] += known(several[n], 200);
    }
    for (n = 0; n < WAYS; n++) several[n]->vtable->Release(several[n]);
    for (n = 0; n < CASES; n++) {
        qsort(times[n], ROUNDS, sizeof times[n][0], ascending);
        printf("%.2f\n", times[n][ROUNDS / 2]);
    }
    for (n = 0; n < WAYS; n++) printf("%.2f\n", sums[n] / ROUNDS);
    return 0;
}
