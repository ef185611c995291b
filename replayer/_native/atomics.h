/* What threads share without a lock: 32 and 64 bits, read, written and counted in one order that all threads see. */
#ifndef SYNCTAPE_ATOMICS_H
#define SYNCTAPE_ATOMICS_H

#include <stdint.h>

#ifdef _MSC_VER
#include <intrin.h>

static inline uint32_t syn_read(volatile uint32_t *cell) {
    return (uint32_t)_InterlockedOr((volatile long *)cell, 0);
}

static inline void syn_write(volatile uint32_t *cell, uint32_t value) {
    _InterlockedExchange((volatile long *)cell, (long)value);
}

static inline uint32_t syn_add(volatile uint32_t *cell, uint32_t by) {
    return (uint32_t)_InterlockedExchangeAdd((volatile long *)cell, (long)by) + by;
}

static inline int syn_swap(volatile uint32_t *cell, uint32_t before, uint32_t after) {
    return (uint32_t)_InterlockedCompareExchange((volatile long *)cell, (long)after, (long)before) == before;
}

static inline uint64_t syn_tick(volatile uint64_t *clock) {
    return (uint64_t)_InterlockedIncrement64((volatile long long *)clock);
}

#else

static inline uint32_t syn_read(volatile uint32_t *cell) {
    return __atomic_load_n(cell, __ATOMIC_SEQ_CST);
}

static inline void syn_write(volatile uint32_t *cell, uint32_t value) {
    __atomic_store_n(cell, value, __ATOMIC_SEQ_CST);
}

/* Gives the new value. */
static inline uint32_t syn_add(volatile uint32_t *cell, uint32_t by) {
    return __atomic_add_fetch(cell, by, __ATOMIC_SEQ_CST);
}

/* Whether it was `before` and is `after` now. */
static inline int syn_swap(volatile uint32_t *cell, uint32_t before, uint32_t after) {
    return __atomic_compare_exchange_n(cell, &before, after, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint64_t syn_tick(volatile uint64_t *clock) {
    return __atomic_add_fetch(clock, 1, __ATOMIC_SEQ_CST);
}

#endif

#endif
