#if !defined(_WIN32)
#define _GNU_SOURCE
#endif
#include "threads.h"

#include "atomics.h"
#include "steps.h"

#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>
#endif

#define SPINS 32          /* accesses of one address, one after the other */
#define MOST_STEPS 10000u /* in one go */

enum State { READY, RUNNING, LOOSE, GONE }; /* LOOSE: it waits or spins, and is not waited for */

typedef struct Stage Stage;

typedef struct Lane {
    Stage *stage;
    SynLane *given;
    uint32_t number;
    volatile uint32_t state;
    volatile uint32_t turn;    /* 1: go on */
    volatile uint32_t preempt; /* 1: one with a higher priority can go on */
    uint32_t rank;             /* the lower, the higher its priority */
    uint32_t why;
    size_t change;    /* the next one */
    uint32_t in_a_go; /* steps */
    uint64_t call;
    uint64_t random;
    volatile uint32_t system_id;
    SynSteps steps;
#ifdef _WIN32
    HANDLE thread;
#else
    pthread_t thread;
#endif
} Lane;

struct Stage {
    SynThreads *given;
    volatile uint64_t clock;
    volatile uint32_t news;    /* counts what the conductor should look at */
    volatile uint32_t borders; /* counts calls that began or ended, and changes */
    uint32_t lowest;
    volatile uint32_t *arrived; /* lanes, by how many calls they have made */
    size_t rounds;
    Lane lanes[SYN_MAX_LANES];
};

static void give_way(void) {
#ifdef _WIN32
    SwitchToThread();
#else
    sched_yield();
#endif
}

/* Whether the present call is to be made step by step. */
static int has_steps(const Lane *lane) {
    const SynLane *given = lane->given;
    size_t i = lane->change;
    if (lane->stage->given->stepping != SYN_STEP_CHANGES)
        return lane->stage->given->stepping == SYN_STEP_ALL;
    while (i < given->change_count && given->changes[2 * i] < given->play.made)
        i++;
    return i < given->change_count && given->changes[2 * i] == given->play.made;
}

/* --------------------------------------------------------------------------------------------------------- freely */

#define LONGEST_WAIT 20000u /* turns: another lane may be stuck in its call */
#define LONGEST_PAUSE 11    /* as a power of two, in turns of a loop */

/* Begin on a processor of its own, if there are so many: the system likes to start short threads on one, and calls
 * on one processor hardly ever meet.  Where the thread may run afterwards stays as it was. */
static void spread(const Lane *lane) {
    size_t place = 0, processor;
#ifdef _WIN32
    DWORD_PTR allowed, all, taken = 0;
    size_t count = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &allowed, &all) || allowed == 0)
        return;
    for (processor = 0; processor < 8 * sizeof allowed; processor++)
        count += (allowed >> processor) & 1;
    for (processor = 0; taken == 0; processor++)
        if (((allowed >> processor) & 1) && place++ == lane->number % count)
            taken = (DWORD_PTR)1 << processor;
    allowed = SetThreadAffinityMask(GetCurrentThread(), taken);
    if (allowed != 0)
        SetThreadAffinityMask(GetCurrentThread(), allowed);
#elif defined(__linux__)
    cpu_set_t allowed, taken;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) /* more processors than a set holds */
        return;
    CPU_ZERO(&taken);
    for (processor = 0; CPU_COUNT(&taken) == 0; processor++)
        if (CPU_ISSET(processor, &allowed) && place++ == lane->number % (size_t)CPU_COUNT(&allowed))
            CPU_SET(processor, &taken);
    if (sched_setaffinity(0, sizeof taken, &taken) == 0)
        (void)sched_setaffinity(0, sizeof allowed, &allowed);
#else
    (void)lane, (void)place, (void)processor;
#endif
}

static uint64_t next_random(Lane *lane) { /* splitmix64 */
    uint64_t z = (lane->random += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint32_t lanes_of_round(const Stage *stage, size_t round) {
    uint32_t count = 0;
    size_t i;
    for (i = 0; i < stage->given->lane_count; i++)
        count += stage->given->lanes[i].calls > round;
    return count;
}

/* Begin together with the others, more or less. */
static void arrive(Lane *lane, size_t round) {
    Stage *stage = lane->stage;
    const uint32_t all = lanes_of_round(stage, round);
    const uint64_t chance = next_random(lane);
    uint32_t turns = 0;
    volatile uint32_t pause = (uint32_t)(chance >> 8) & ((1u << (chance % (LONGEST_PAUSE + 1))) - 1);
    syn_add(&stage->arrived[round], 1);
    while (syn_read(&stage->arrived[round]) < all && ++turns < LONGEST_WAIT) {
        if (turns > 200) /* the others may need this processor */
            give_way();
    }
    while (pause > 0)
        pause--;
    if ((chance >> 40) % 8 == 0)
        give_way();
}

/* Have the values of closed handles taken by strangers. */
static void plant(const Lane *lane) {
#ifdef _WIN32
    (void)lane;
#else
    SynThreads *given = lane->stage->given;
    const SynPlay *play = &lane->given->play;
    size_t i;
    for (i = 0; given->strangers != NULL && i < play->handle_count; i++) {
        const int value = (int)play->handles[i].value;
        int64_t stranger = given->strangers[i];
        if (stranger >= 0 && fcntl(value, F_GETFD) < 0 && errno == EBADF &&
            __atomic_compare_exchange_n(&given->strangers[i], &stranger, -2, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            (void)dup2((int)stranger, value);
    }
#endif
}

/* ------------------------------------------------------------------------------------------- one at a time (Linux) */

#ifdef __linux__

#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define LOOK_NS 100000           /* how long a lane may run before one looks what it does */
#define BUSY_NS 1000000u         /* of a processor's time without a step, and it is let loose */
#define FOREVER_NS 1000000000ull /* of all lanes waiting, if it is not known for what */

static void wait_while(volatile uint32_t *cell, uint32_t value, long nanoseconds) {
    struct timespec limit;
    limit.tv_sec = 0;
    limit.tv_nsec = nanoseconds;
    syscall(SYS_futex, cell, FUTEX_WAIT_PRIVATE, value, nanoseconds > 0 ? &limit : NULL, NULL, 0);
}

static void wake(volatile uint32_t *cell) {
    syscall(SYS_futex, cell, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void tell(Stage *stage) {
    syn_add(&stage->news, 1);
    wake(&stage->news);
}

/* Stop here until it is this lane's turn. */
static void park(Lane *lane, SynWhy why) {
    lane->why = (uint32_t)why;
    lane->in_a_go = 0;
    syn_write(&lane->state, READY);
    tell(lane->stage);
    while (!syn_swap(&lane->turn, 1, 0))
        wait_while(&lane->turn, 0, 0);
    if (lane->given->play.journal != NULL) /* should it die now, then in this call */
        *lane->given->play.journal = lane->given->play.journal_base + lane->call;
}

/* Have the lanes that are left say where they are. */
static void ask_for_stacks(Stage *stage) {
    size_t i;
    for (i = 0; i < stage->given->lane_count; i++) {
        SynFault *fault = NULL;
        if (syn_read(&stage->lanes[i].state) != GONE && (fault = calloc(1, sizeof *fault)) != NULL &&
            syn_fault_ask(stage->lanes[i].system_id, fault) != 0)
            fault = NULL; /* it may still write there */
        stage->given->stacks[i] = fault;
    }
}

/* How long a lane has had a processor. */
static uint64_t busy_ns(const Lane *lane) {
    clockid_t clock;
    struct timespec spent;
    if (pthread_getcpuclockid(lane->thread, &clock) != 0 || clock_gettime(clock, &spent) != 0)
        return 0;
    return (uint64_t)spent.tv_sec * 1000000000u + (uint64_t)spent.tv_nsec;
}

static void drop(Lane *lane) {
    lane->rank = ++lane->stage->lowest;
}

static int is_called_back(Lane *lane) {
    return syn_read(&lane->state) == LOOSE || syn_swap(&lane->preempt, 1, 0);
}

static void on_step(SynSteps *steps) {
    Lane *lane = (Lane *)((char *)steps - offsetof(Lane, steps));
    const SynLane *given = lane->given;
    const size_t at = given->play.made;
    int changes = 0;
    lane->in_a_go++;
    for (; lane->change < given->change_count; lane->change++) {
        const uint32_t *change = given->changes + 2 * lane->change;
        if (change[0] > at || (change[0] == at && change[1] > steps->count))
            break;
        changes = changes || (change[0] == at && change[1] == steps->count);
    }
    if (changes) {
        if (lane->stage->given->stepping == SYN_STEP_CHANGES && !has_steps(lane))
            syn_steps_end(); /* that was the last one */
        syn_add(&lane->stage->borders, 1);
        drop(lane);
        park(lane, SYN_CHANGED);
    } else if (steps->alike >= SPINS || lane->in_a_go >= MOST_STEPS) {
        steps->alike = 0;
        drop(lane);
        park(lane, SYN_SPUN);
    } else if (is_called_back(lane)) {
        park(lane, SYN_WAITED);
    }
}

static void grant(Stage *stage, Lane *lane, Lane **last) {
    SynThreads *given = stage->given;
    if (*last != NULL && *last != lane && given->handed_over_count < given->capacity) {
        SynHandOver *made = &given->handed_over[given->handed_over_count++];
        const Lane *from = *last;
        made->call = from->call;
        made->why = syn_read(&stage->lanes[from->number].state) == GONE ? SYN_ENDED : from->why;
        made->step = made->why == SYN_ENDED ? 0 : from->steps.count;
        made->pc = made->why == SYN_ENDED ? 0 : from->steps.pc;
        made->to = lane->number;
    }
    if (*last != NULL)
        plant(*last); /* it may have closed something in the middle of its call */
    *last = lane;
    syn_write(&lane->preempt, 0);
    syn_write(&lane->state, RUNNING);
    syn_write(&lane->turn, 1);
    wake(&lane->turn);
}

/* What a thread does in the system: "running", or a call's number and arguments; 0 if that cannot be known. */
static int read_activity(uint32_t thread, char *text, size_t size) {
    char path[64];
    ssize_t length;
    int file;
    snprintf(path, sizeof path, "/proc/self/task/%u/syscall", (unsigned)thread);
    if ((file = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return 0;
    length = read(file, text, size - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
    return length > 0;
}

static int sleeps(const char *activity) {
    return activity[0] != 'r';
}

/* The address that a thread waits at without a limit of time, 0 if it does not; and who holds the lock that lies there, if
 * it is one as the system's library lays them out. */
static uintptr_t waits_at(const char *activity, uint32_t *holder) {
    unsigned long long number, at, operation, value, limit;
    struct iovec here, there;
    *holder = 0;
    if (sscanf(activity, "%llu %llx %llx %llx %llx", &number, &at, &operation, &value, &limit) != 5 ||
        number != SYS_futex || limit != 0 || ((operation & 0x7F) != FUTEX_WAIT && (operation & 0x7F) != FUTEX_WAIT_BITSET))
        return 0;
    here.iov_base = holder, here.iov_len = sizeof *holder;
    there.iov_base = (void *)(uintptr_t)(at + 8), there.iov_len = sizeof *holder;
    if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != (ssize_t)sizeof *holder)
        *holder = 0;
    return (uintptr_t)at;
}

/* Whether all lanes that are left wait for ever: each for what another one, or itself, holds.  Whom, is in `holders`. */
static int all_hold_each_other(Stage *stage, int *wait) {
    SynThreads *given = stage->given;
    char activity[160];
    int all_known = 1;
    size_t i, j;
    *wait = 1;
    for (i = 0; i < given->lane_count; i++) {
        uint32_t holder;
        given->holders[i] = UINT32_MAX;
        if (syn_read(&stage->lanes[i].state) == GONE)
            continue;
        if (!read_activity(stage->lanes[i].system_id, activity, sizeof activity) || !waits_at(activity, &holder)) {
            *wait = 0;
            return 0;
        }
        for (j = 0; j < given->lane_count; j++) {
            if (holder != 0 && stage->lanes[j].system_id == holder && syn_read(&stage->lanes[j].state) != GONE)
                given->holders[i] = (uint32_t)j;
        }
        all_known = all_known && given->holders[i] != UINT32_MAX;
    }
    return all_known;
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Say whose turn it is until all lanes have ended. */
static SynPlayed conduct(Stage *stage) {
    const size_t count = stage->given->lane_count;
    char activity[160];
    Lane *last = NULL;
    uint32_t alike = 0, traps = 0, borders = 0;
    uint64_t busy = 0;
    uint64_t waited = 0, since = now_ns();
    for (;;) {
        const uint32_t seen = syn_read(&stage->news);
        Lane *best = NULL, *running = NULL;
        size_t left = 0, spinning = 0, i;
        for (i = 0; i < count; i++) {
            Lane *lane = &stage->lanes[i];
            const uint32_t state = syn_read(&lane->state);
            left += state != GONE;
            spinning += state == READY && lane->why == SYN_SPUN;
            if (state == RUNNING)
                running = lane;
            if (state == READY && (best == NULL || lane->rank < best->rank))
                best = lane;
        }
        if (left == 0)
            return SYN_PLAYED;
        if (borders != syn_read(&stage->borders) || spinning < left) {
            borders = syn_read(&stage->borders);
            since = now_ns();
        } else if (now_ns() - since > FOREVER_NS) { /* each spins for what another one has */
            for (i = 0; i < count; i++)
                stage->given->holders[i] = UINT32_MAX;
            return SYN_DEADLOCK;
        }
        if (running == NULL && best != NULL) {
            grant(stage, best, &last);
            alike = traps = 0;
            waited = 0;
        } else if (running != NULL) {
            if (best != NULL && best->rank < running->rank)
                syn_write(&running->preempt, 1);
            wait_while(&stage->news, seen, LOOK_NS);
            if (syn_read(&stage->news) != seen)
                continue;
            if (running->steps.traps != traps || alike == 0) {
                traps = running->steps.traps;
                busy = busy_ns(running);
                alike = 1;
            } else if ((read_activity(running->system_id, activity, sizeof activity) && sleeps(activity)) ||
                       busy_ns(running) - busy > BUSY_NS) {
                running->why = SYN_WAITED;
                if (syn_swap(&running->state, RUNNING, LOOSE))
                    alike = 0;
            }
        } else { /* those that are left have been let loose */
            int wait;
            wait_while(&stage->news, seen, 10 * LOOK_NS);
            if (syn_read(&stage->news) != seen) {
                waited = 0;
                continue;
            }
            if (all_hold_each_other(stage, &wait) && all_hold_each_other(stage, &wait))
                return SYN_DEADLOCK;
            waited = wait ? waited + 10 * LOOK_NS : 0;
            if (waited >= FOREVER_NS)
                return SYN_DEADLOCK;
        }
    }
}

static uint32_t own_id(void) {
    return (uint32_t)syscall(SYS_gettid);
}

#else

static void park(Lane *lane, SynWhy why) {
    (void)lane, (void)why;
}

static void tell(Stage *stage) {
    (void)stage;
}

static void drop(Lane *lane) {
    (void)lane;
}

static void on_step(SynSteps *steps) {
    (void)steps;
}

static int is_called_back(Lane *lane) {
    (void)lane;
    return 0;
}

static uint32_t own_id(void) {
    return 0;
}

static SynPlayed conduct(Stage *stage) {
    (void)stage;
    return SYN_PLAYED;
}

static void ask_for_stacks(Stage *stage) {
    (void)stage;
}

#endif

/* ---------------------------------------------------------------------------------------------------------- lanes */

/* Drop below the others if that is due before the call begins. */
static int drops_at_entry(Lane *lane) {
    const SynLane *given = lane->given;
    int due = 0;
    for (; lane->change < given->change_count; lane->change++) {
        const uint32_t *change = given->changes + 2 * lane->change;
        if (change[0] > given->play.made || (change[0] == given->play.made && change[1] > 0))
            break;
        due = due || change[0] == given->play.made;
    }
    return due;
}

static SynEntry entering(SynPlay *play, SynEntry entry) {
    Lane *lane = play->context;
    Stage *stage = lane->stage;
    const uint64_t number = play->numbers[play->made];
    lane->call = number;
    if (stage->given->stepping) {
        lane->steps.count = 0;
        lane->steps.pc = 0;
        if (drops_at_entry(lane)) {
            drop(lane);
            park(lane, SYN_CHANGED);
        } else if (is_called_back(lane)) {
            park(lane, SYN_WAITED);
        }
    } else {
        arrive(lane, play->made);
    }
    syn_add(&stage->borders, 1);
    stage->given->entered[number] = syn_tick(&stage->clock);
    return has_steps(lane) ? syn_steps_begin(&lane->steps, entry) : entry;
}

static void left(SynPlay *play) {
    Lane *lane = play->context;
    Stage *stage = lane->stage;
    const uint64_t number = play->numbers[play->made];
    if (stage->given->stepping) {
        syn_steps_end();
        stage->given->steps[number] = lane->steps.count;
        lane->steps.count = 0;
        lane->steps.pc = 0;
        if (is_called_back(lane))
            park(lane, SYN_WAITED);
    }
    plant(lane);
    stage->given->left[number] = syn_tick(&stage->clock);
}

static void run_lane(Lane *lane) {
    SynLane *given = lane->given;
    lane->system_id = own_id();
    if (lane->stage->given->stepping) {
        lane->call = given->calls > 0 ? given->play.numbers[0] : 0;
        park(lane, SYN_CHANGED);
    } else {
        spread(lane);
    }
    given->status = syn_play(given->player, &given->play);
    syn_write(&lane->state, GONE);
    tell(lane->stage);
}

#ifdef _WIN32

static DWORD WINAPI lane_thread(LPVOID argument) {
    run_lane(argument);
    return 0;
}

static int start(Lane *lane) {
    lane->thread = CreateThread(NULL, 0, lane_thread, lane, 0, NULL);
    return lane->thread != NULL ? 0 : -1;
}

static void join(Lane *lane) {
    WaitForSingleObject(lane->thread, INFINITE);
    CloseHandle(lane->thread);
}

static void leave_behind(Lane *lane) {
    CloseHandle(lane->thread);
}

#else

static void *lane_thread(void *argument) {
    run_lane(argument);
    return NULL;
}

static int start(Lane *lane) {
    return pthread_create(&lane->thread, NULL, lane_thread, lane);
}

static void join(Lane *lane) {
    pthread_join(lane->thread, NULL);
}

static void leave_behind(Lane *lane) {
    pthread_detach(lane->thread);
}

#endif

static Stage *set_stage(SynThreads *threads) {
    Stage *stage = calloc(1, sizeof *stage);
    size_t i;
    if (stage == NULL)
        return NULL;
    stage->given = threads;
    for (i = 0; i < threads->lane_count; i++) {
        Lane *lane = &stage->lanes[i];
        lane->stage = stage;
        lane->given = &threads->lanes[i];
        lane->number = lane->rank = (uint32_t)i;
        lane->state = RUNNING; /* until it is there */
        lane->random = threads->seed * 0x9E3779B97F4A7C15u + i;
        lane->steps.on_step = on_step;
        lane->given->play.entering = entering;
        lane->given->play.left = left;
        lane->given->play.context = lane;
        if (stage->rounds < lane->given->calls)
            stage->rounds = lane->given->calls;
    }
    stage->lowest = (uint32_t)threads->lane_count;
    stage->arrived = calloc(stage->rounds + 1, sizeof *stage->arrived);
    if (stage->arrived == NULL) {
        free(stage);
        return NULL;
    }
    return stage;
}

SynPlayed syn_threads_play(SynThreads *threads) {
    SynPlayed played = SYN_PLAYED;
    Stage *stage;
    size_t started = 0, i;
    if (!syn_steps_available())
        threads->stepping = SYN_FREELY;
    threads->handed_over_count = 0;
    if (threads->lane_count > SYN_MAX_LANES || (stage = set_stage(threads)) == NULL)
        return SYN_NO_THREADS;
    while (started < threads->lane_count && start(&stage->lanes[started]) == 0)
        started++;
    for (i = started; i < threads->lane_count; i++) { /* the system has no more threads: the others are played all the same */
        syn_write(&stage->lanes[i].state, GONE);
        played = SYN_NO_THREADS;
    }
    if (threads->stepping && conduct(stage) == SYN_DEADLOCK) {
        ask_for_stacks(stage);
        for (i = 0; i < started; i++)
            leave_behind(&stage->lanes[i]);
        return SYN_DEADLOCK; /* and the stage stays, with whoever is on it */
    }
    for (i = 0; i < started; i++)
        join(&stage->lanes[i]);
    free((void *)stage->arrived);
    free(stage);
    return played;
}
