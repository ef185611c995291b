#define _GNU_SOURCE
#define _DARWIN_C_SOURCE
#include "fault.h"

#include "atomics.h"

#include <string.h>

#if defined(_MSC_VER)
#define PER_THREAD __declspec(thread)
#else
#define PER_THREAD __thread
#endif

#define FIRST_FRAMES 24 /* of a long stack that are kept, and */
#define LAST_FRAMES 8
#define MOST_FRAMES (1u << 20) /* that are followed: of an overflow where it began says more than where it ended */
#define NEAR ((uintptr_t)256 << 10)

static SynFault *volatile record;
static PER_THREAD const void *player_frame; /* NULL outside of calls */
static volatile uint32_t players;           /* threads in calls */

static uint32_t who_plays(void) {
    return player_frame != NULL ? SYN_THIS_THREAD : players > 0 ? SYN_OTHER_THREAD : SYN_NOBODY;
}

/* ---------------------------------------------------------------------------------------------- the written stack */

typedef struct Frames {
    uintptr_t first[FIRST_FRAMES], last[LAST_FRAMES]; /* the last ones in a ring */
    uint32_t count;
} Frames;

static void add_frame(Frames *frames, uintptr_t address) {
    if (frames->count < FIRST_FRAMES)
        frames->first[frames->count] = address;
    else
        frames->last[(frames->count - FIRST_FRAMES) % LAST_FRAMES] = address;
    frames->count++;
}

static void put(SynFault *fault, const char *text) {
    const size_t room = sizeof fault->stack - fault->length, length = strlen(text);
    if (length < room) {
        memcpy(fault->stack + fault->length, text, length);
        fault->length += (uint32_t)length;
    }
}

static void put_hex(SynFault *fault, uintptr_t number) {
    char digits[2 * sizeof number + 1];
    size_t at = sizeof digits;
    digits[--at] = 0;
    do {
        digits[--at] = "0123456789abcdef"[number & 15];
        number >>= 4;
    } while (number != 0);
    put(fault, digits + at);
}

static void put_frame(SynFault *fault, uintptr_t address);

static void put_frames(SynFault *fault, const Frames *frames) {
    const uint32_t count = frames->count, first = count < FIRST_FRAMES ? count : FIRST_FRAMES, more = count - first;
    uint32_t i;
    for (i = 0; i < first; i++)
        put_frame(fault, frames->first[i]);
    for (i = more < LAST_FRAMES ? 0 : more - LAST_FRAMES; i < more; i++) {
        if (i > 0 && i == more - LAST_FRAMES)
            put(fault, "...\n");
        put_frame(fault, frames->last[i % LAST_FRAMES]);
    }
}

#ifdef _WIN32
/* ------------------------------------------------------------------------------------------------------- Windows */

#include <windows.h>

#define RESERVED_STACK (64u << 10) /* for handlers, when the stack is used up */
#define WRITING_MS 3000            /* at most; what is in the record by then has to do */

static PER_THREAD int prepared;

static int is_fatal(DWORD code) {
    switch (code) {
    case EXCEPTION_ACCESS_VIOLATION:
    case EXCEPTION_STACK_OVERFLOW:
    case EXCEPTION_ILLEGAL_INSTRUCTION:
    case EXCEPTION_PRIV_INSTRUCTION:
    case EXCEPTION_INT_DIVIDE_BY_ZERO:
    case EXCEPTION_INT_OVERFLOW:
    case EXCEPTION_IN_PAGE_ERROR:
    case EXCEPTION_DATATYPE_MISALIGNMENT:
    case EXCEPTION_BREAKPOINT:
    case 0xC0000374: /* heap corruption */
    case 0xC0000409: /* stack buffer overrun */
    case 0xC0000602: /* fail fast */
        return 1;
    default:
        return 0;
    }
}

static void put_frame(SynFault *fault, uintptr_t address) {
    char path[MAX_PATH];
    HMODULE module = NULL;
    const DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    if (address != 0 && GetModuleHandleExA(flags, (const char *)address, &module) && GetModuleFileNameA(module, path, sizeof path) > 0)
        put(fault, path);
    else
        put(fault, "?");
    put(fault, "+0x");
    put_hex(fault, address - (uintptr_t)module);
    put(fault, "\n");
}

static void follow(Frames *frames, CONTEXT context, uintptr_t end) {
#if defined(__x86_64__) || defined(_M_X64)
    while ((context.Rip != 0 || frames->count == 0) && frames->count < MOST_FRAMES) {
        DWORD64 base, established;
        void *data;
        PRUNTIME_FUNCTION function;
        const DWORD64 before = context.Rsp;
        if (end != 0 && context.Rsp >= end)
            return;
        add_frame(frames, (uintptr_t)context.Rip - (frames->count > 0));
        function = RtlLookupFunctionEntry(context.Rip, &base, NULL);
        if (function != NULL) {
            RtlVirtualUnwind(UNW_FLAG_NHANDLER, base, context.Rip, function, &context, &data, &established, NULL);
        } else { /* a leaf, or a jump to nowhere: the return address is on top */
            memcpy(&context.Rip, (const void *)(uintptr_t)context.Rsp, sizeof context.Rip);
            context.Rsp += 8;
        }
        if (context.Rsp <= before)
            return;
    }
#else
    (void)frames, (void)context, (void)end;
#endif
}

/* The stack is followed by a thread that waits for it: where a stack is used up there is little left to do it on. */
static HANDLE wanted, written;
static const EXCEPTION_POINTERS *volatile asked;
static const void *volatile asked_frame;
static volatile LONG busy;

static DWORD WINAPI write_stacks(void *nothing) {
    (void)nothing;
    for (;;) {
        Frames frames;
        SynFault *fault;
        WaitForSingleObject(wanted, INFINITE);
        fault = record;
        frames.count = 0;
        follow(&frames, *asked->ContextRecord, (uintptr_t)asked_frame);
        put_frames(fault, &frames);
        SetEvent(written);
    }
    return 0;
}

static LONG CALLBACK on_exception(EXCEPTION_POINTERS *pointers) {
    const EXCEPTION_RECORD *exception = pointers->ExceptionRecord;
    SynFault *fault = record;
    if (fault == NULL || !is_fatal(exception->ExceptionCode) || InterlockedExchange(&busy, 1) != 0)
        return EXCEPTION_CONTINUE_SEARCH;
    fault->code = exception->ExceptionCode;
    fault->address = (uintptr_t)exception->ExceptionAddress;
    fault->access = fault->meaning = fault->length = 0;
    fault->playing = who_plays();
    if (exception->ExceptionCode == EXCEPTION_ACCESS_VIOLATION && exception->NumberParameters >= 2) {
        const ULONG_PTR how = exception->ExceptionInformation[0];
        fault->address = exception->ExceptionInformation[1];
        fault->access = how == 0 ? SYN_READ : how == 1 ? SYN_WRITE : SYN_EXECUTE;
        fault->meaning = syn_texts_meaning((uintptr_t)fault->address, how == 1, &fault->call);
    } else if (exception->ExceptionCode == EXCEPTION_STACK_OVERFLOW) {
        fault->meaning = SYN_STACK_OVERFLOW;
    }
    fault->state = 1;
    asked = pointers;
    asked_frame = player_frame;
    SetEvent(wanted);
    WaitForSingleObject(written, WRITING_MS);
    fault->state = 2;
    if (fault->meaning == SYN_STACK_OVERFLOW && asked_frame != NULL)
        TerminateProcess(GetCurrentProcess(), exception->ExceptionCode); /* the search for a handler takes stack */
    busy = 0;
    return EXCEPTION_CONTINUE_SEARCH;
}

int syn_fault_watch(SynFault *to) {
    HANDLE thread;
    const int first = record == NULL;
    record = to;
    if (!first)
        return 0;
    wanted = CreateEventW(NULL, FALSE, FALSE, NULL);
    written = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (wanted == NULL || written == NULL)
        return -1;
    thread = CreateThread(NULL, 0, write_stacks, NULL, 0, NULL);
    if (thread == NULL)
        return -1;
    CloseHandle(thread);
    return AddVectoredExceptionHandler(1, on_exception) != NULL ? 0 : -1;
}

static void prepare(void) {
    ULONG size = RESERVED_STACK;
    SetThreadStackGuarantee(&size);
    prepared = 1;
}

#else
/* --------------------------------------------------------------------------------------------------------- POSIX */

#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#ifdef __linux__
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#endif
#include <unwind.h>

#define STACK_BYTES ((size_t)256 << 10) /* of a handler: unwinding takes some */

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
#define SIGNALS (sizeof signals / sizeof *signals)

static struct sigaction before[SIGNALS];
static pthread_key_t stack_key;
static PER_THREAD int prepared;
static PER_THREAD uintptr_t stack_low; /* of the thread's own stack; 0: not known */
static PER_THREAD volatile int tracing;
static PER_THREAD sigjmp_buf trace_failed;

static void put_frame(SynFault *fault, uintptr_t address) {
    Dl_info info;
    const int known = dladdr((void *)address, &info) != 0 && info.dli_fname != NULL;
    put(fault, known ? info.dli_fname : "?");
    put(fault, "+0x");
    put_hex(fault, known ? address - (uintptr_t)info.dli_fbase : address);
    if (known && info.dli_sname != NULL) {
        put(fault, " ");
        put(fault, info.dli_sname);
    }
    put(fault, "\n");
}

typedef struct Walk {
    Frames frames;
    uintptr_t pc; /* where the fault was: what is further in is the handler's */
    int started;
} Walk;

static _Unwind_Reason_Code on_frame(struct _Unwind_Context *context, void *data) {
    Walk *walk = data;
    int exact = 0;
    const uintptr_t at = (uintptr_t)_Unwind_GetIPInfo(context, &exact);
    if (at == walk->pc)
        walk->started = 1;
    if (!walk->started)
        return _URC_NO_REASON;
    if (walk->frames.count > 0 && player_frame != NULL && (uintptr_t)_Unwind_GetCFA(context) > (uintptr_t)player_frame)
        return _URC_END_OF_STACK;
    add_frame(&walk->frames, at - !exact);
    return walk->frames.count < MOST_FRAMES ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* Program counter and stack pointer at the fault, and how memory was touched, as far as the machine tells. */
static void read_context(const ucontext_t *context, uintptr_t *pc, uintptr_t *sp, SynAccess *access) {
    *pc = *sp = 0;
    *access = SYN_NO_ACCESS;
#if defined(__linux__) && defined(__x86_64__)
    {
        const greg_t error = context->uc_mcontext.gregs[REG_ERR];
        *pc = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
        *sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
        *access = error & 16 ? SYN_EXECUTE : error & 2 ? SYN_WRITE : SYN_READ;
    }
#elif defined(__linux__) && defined(__aarch64__)
    *pc = (uintptr_t)context->uc_mcontext.pc;
    *sp = (uintptr_t)context->uc_mcontext.sp;
#elif defined(__APPLE__) && defined(__aarch64__)
    *pc = (uintptr_t)context->uc_mcontext->__ss.__pc;
    *sp = (uintptr_t)context->uc_mcontext->__ss.__sp;
#elif defined(__APPLE__) && defined(__x86_64__)
    *pc = (uintptr_t)context->uc_mcontext->__ss.__rip;
    *sp = (uintptr_t)context->uc_mcontext->__ss.__rsp;
#else
    (void)context;
#endif
}

static void write_stack(SynFault *fault, uintptr_t pc, uintptr_t sp) {
    Walk walk;
    memset(&walk, 0, sizeof walk);
    walk.pc = pc;
    tracing = 1;
    if (sigsetjmp(trace_failed, 0) == 0) {
        _Unwind_Backtrace(on_frame, &walk);
        if (walk.frames.count == 0 && pc != 0)
            add_frame(&walk.frames, pc);
        if (walk.frames.count == 1 && sp != 0) { /* a jump to nowhere: who jumped is on top of the stack */
            uintptr_t back;
            memcpy(&back, (const void *)sp, sizeof back);
            if (_Unwind_FindEnclosingFunction((void *)pc) == NULL)
                add_frame(&walk.frames, back - 1);
        }
    }
    if (sigsetjmp(trace_failed, 0) == 0)
        put_frames(fault, &walk.frames);
    tracing = 0;
}

static void write_record(SynFault *fault, int signal, const siginfo_t *info, const void *context) {
    uintptr_t pc, sp;
    SynAccess access;
    const int ours = info->si_code > 0; /* not sent by somebody */
    read_context(context, &pc, &sp, &access);
    fault->code = (uint32_t)signal;
    fault->playing = who_plays();
    if (ours && (signal == SIGSEGV || signal == SIGBUS)) {
        const uintptr_t address = (uintptr_t)info->si_addr;
        fault->address = address;
        fault->access = access;
        fault->meaning = syn_texts_meaning(address, access == SYN_WRITE, &fault->call);
        if (fault->meaning == SYN_NO_TEXT && stack_low != 0 && sp < stack_low + NEAR && address < sp + NEAR &&
            address + NEAR > sp)
            fault->meaning = SYN_STACK_OVERFLOW;
    } else {
        fault->address = pc;
    }
    write_stack(fault, pc, sp);
}

static void on_signal(int signal, siginfo_t *info, void *context) {
    SynFault *fault = record;
    size_t i = 0;
    if (tracing)
        siglongjmp(trace_failed, 1); /* the stack itself is broken: what is written of it has to do */
    if (fault != NULL && __sync_bool_compare_and_swap(&fault->state, 0, 1)) {
        write_record(fault, signal, info, context);
        fault->state = 2;
    }
    while (i + 1 < SIGNALS && signals[i] != signal)
        i++;
    if (before[i].sa_flags & SA_SIGINFO) {
        before[i].sa_sigaction(signal, info, context);
    } else if (before[i].sa_handler != SIG_DFL && before[i].sa_handler != SIG_IGN) {
        before[i].sa_handler(signal);
    } else {
        struct sigaction none;
        memset(&none, 0, sizeof none);
        none.sa_handler = SIG_DFL;
        sigaction(signal, &none, NULL);
        if (info->si_code <= 0)
            raise(signal); /* what was sent does not come again by itself */
    }
}

/* The end of a thread that had a stack for handlers. */
static void drop_stack(void *stack) {
    stack_t now, none;
    memset(&now, 0, sizeof now);
    memset(&none, 0, sizeof none);
    if (sigaltstack(NULL, &now) != 0 || now.ss_sp != stack)
        return; /* somebody else (a sanitizer) has another one now, and may have unmapped this */
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, NULL);
    munmap(stack, STACK_BYTES);
}

int syn_fault_watch(SynFault *to) {
    static int installed;
    size_t i;
    record = to;
    if (installed)
        return 0;
    if (pthread_key_create(&stack_key, drop_stack) != 0)
        return -1;
    for (i = 0; i < SIGNALS; i++) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigemptyset(&action.sa_mask);
        if (sigaction(signals[i], &action, &before[i]) != 0)
            return -1;
    }
    installed = 1;
    return 0;
}

static void prepare(void) {
    stack_t stack;
    memset(&stack, 0, sizeof stack);
    prepared = 1;
    stack.ss_sp = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp == MAP_FAILED)
        return;
    stack.ss_size = STACK_BYTES;
    if (sigaltstack(&stack, NULL) != 0 || pthread_setspecific(stack_key, stack.ss_sp) != 0) {
        drop_stack(stack.ss_sp);
        return;
    }
#ifdef __linux__
    {
        pthread_attr_t attributes;
        void *low;
        size_t size;
        if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
            if (pthread_attr_getstack(&attributes, &low, &size) == 0)
                stack_low = (uintptr_t)low;
            pthread_attr_destroy(&attributes);
        }
    }
#elif defined(__APPLE__)
    stack_low = (uintptr_t)pthread_get_stackaddr_np(pthread_self()) - pthread_get_stacksize_np(pthread_self());
#endif
}

#endif

#ifdef __linux__

static SynFault *volatile asked_for;

static void on_ask(int signal, siginfo_t *info, void *context) {
    SynFault *to = asked_for;
    (void)signal, (void)info;
    if (to != NULL && syn_swap(&to->state, 0, 1)) {
        uintptr_t pc, sp;
        SynAccess access;
        const int error = errno;
        read_context(context, &pc, &sp, &access);
        write_stack(to, pc, sp);
        errno = error;
        syn_write(&to->state, 2);
    }
}

int syn_fault_ask(uint32_t thread, SynFault *to) {
    const struct timespec moment = {0, 1000000};
    struct sigaction action, before_it;
    int tries = 200;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_ask;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGRTMAX - 1, &action, &before_it) != 0)
        return -1;
    asked_for = to;
    if (syscall(SYS_tgkill, getpid(), (pid_t)thread, SIGRTMAX - 1) == 0) {
        while (syn_read(&to->state) != 2 && tries-- > 0)
            nanosleep(&moment, NULL);
    }
    asked_for = NULL;
    if (syn_read(&to->state) != 2)
        return -1; /* the handler stays: the signal may still come */
    (void)sigaction(SIGRTMAX - 1, &before_it, NULL);
    return 0;
}

#else

int syn_fault_ask(uint32_t thread, SynFault *to) {
    (void)thread, (void)to;
    return -1;
}

#endif

const void *syn_fault_enter(const void *frame) {
    const void *outer = player_frame;
    if (record != NULL) {
        if (!prepared)
            prepare();
        if (record->state != 0)
            record->state = 0; /* of a fault that the process survived */
    }
    player_frame = frame;
    syn_add(&players, 1);
    return outer;
}

void syn_fault_leave(const void *outer) {
    syn_add(&players, UINT32_MAX);
    player_frame = outer;
}
