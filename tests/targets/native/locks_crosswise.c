/* Two locks that Progress takes in one order and Error in the other: each may wait for what the other one has.
 *
 * Shortest schedule: Progress and Error on two threads, the second when the first has one of its locks
 * (`0: Progress @1`, `1: Error`).  Both wait for ever (X14).
 */
#include "callback.h"

#include <pthread.h>

typedef struct Host {
    Callback callback;
    pthread_mutex_t step, problems;
    volatile uint32_t index, problem;
} Host;

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    Host *host = (Host *)self;
    (void)text, (void)maximum;
    pthread_mutex_lock(&host->step);
    host->index = index;
    pthread_mutex_lock(&host->problems);
    host->problem = 0;
    pthread_mutex_unlock(&host->problems);
    pthread_mutex_unlock(&host->step);
    return S_OK;
}

static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    Host *host = (Host *)self;
    (void)text;
    pthread_mutex_lock(&host->problems);
    host->problem = (uint32_t)result;
    pthread_mutex_lock(&host->step);
    host->index = 0;
    pthread_mutex_unlock(&host->step);
    pthread_mutex_unlock(&host->problems);
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    const int32_t result = callback_create(ppv, sizeof(Host), &vtbl);
    if (result == S_OK) {
        Host *host = *ppv;
        pthread_mutex_init(&host->step, NULL);
        pthread_mutex_init(&host->problems, NULL);
    }
    return result;
}
