#if defined(__linux__) && defined(__x86_64__)
#define _GNU_SOURCE
#endif
#include "steps.h"

#if defined(__linux__) && defined(__x86_64__)

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define TRAP_FLAG 0x100
#define MOST_TRAPS (1u << 16)  /* of one call: what goes on for longer is not looked at any more */
#define MOST_OUTSIDE (1u << 15) /* of these outside of the target: a sanitizer's allocator makes thousands at a time */
#define RED_ZONE 128

static __thread SynSteps *volatile current;
static struct sigaction before;

/* ------------------------------------------------------------------------------------------------- instructions */

enum { NO_SEGMENT = 0, THREADS_OWN = 1 };

/* Where an operand in memory lies, whose ModRM byte is at `at`; `x` and `b` extend its registers.  0 if it is none. */
static uintptr_t operand(const uint8_t *at, int x, int b, const greg_t *regs) {
    static const int number[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    const uint8_t modrm = *at++, mod = modrm >> 6, rm = modrm & 7;
    uintptr_t address = 0;
    int32_t far;
    if (mod == 3)
        return 0;
    if (rm == 4) {
        const uint8_t sib = *at++, base = sib & 7, index = (uint8_t)(((sib >> 3) & 7) | (x ? 8 : 0));
        if (index != 4)
            address = (uintptr_t)regs[number[index]] << (sib >> 6);
        if (base == 5 && mod == 0) {
            memcpy(&far, at, sizeof far);
            return address + (uintptr_t)(intptr_t)far;
        }
        address += (uintptr_t)regs[number[base | (b ? 8 : 0)]];
    } else if (rm == 5 && mod == 0) { /* relative to the next instruction; an immediate behind it is left out */
        memcpy(&far, at, sizeof far);
        return (uintptr_t)at + sizeof far + (uintptr_t)(intptr_t)far;
    } else {
        address = (uintptr_t)regs[number[rm | (b ? 8 : 0)]];
    }
    if (mod == 1)
        return address + (uintptr_t)(intptr_t)(int8_t)*at;
    if (mod == 2) {
        memcpy(&far, at, sizeof far);
        return address + (uintptr_t)(intptr_t)far;
    }
    return address;
}

/* What a one-byte opcode does with memory: 0 nothing, 1 as its ModRM says, 2 at rdi, 3 at rsi, 4 at an absolute address. */
static int kind_of(uint8_t opcode, const uint8_t *modrm) {
    if (opcode < 0x40)
        return (opcode & 7) < 4;
    if (opcode >= 0xD8 && opcode <= 0xDF)
        return 1;
    switch (opcode) {
    case 0x63: case 0x69: case 0x6B:
    case 0x80: case 0x81: case 0x83: case 0x84: case 0x85: case 0x86: case 0x87: case 0x88: case 0x89: case 0x8A: case 0x8B:
    case 0xC0: case 0xC1: case 0xC6: case 0xC7: case 0xD0: case 0xD1: case 0xD2: case 0xD3: case 0xF6: case 0xF7: case 0xFE:
        return 1;
    case 0xFF: /* calls and jumps through memory read what never changes; the rest counts */
        return ((*modrm >> 3) & 7) < 2 || ((*modrm >> 3) & 7) == 6;
    case 0xA4: case 0xA5: case 0xAA: case 0xAB: case 0xAE: case 0xAF:
        return 2;
    case 0xA6: case 0xA7: case 0xAC: case 0xAD:
        return 3;
    case 0xA0: case 0xA1: case 0xA2: case 0xA3:
        return 4;
    default:
        return 0;
    }
}

/* The same of an opcode behind 0F. */
static int has_operand(uint8_t opcode) {
    if (opcode == 0x0D || (opcode >= 0x18 && opcode <= 0x1F)) /* hints and fillers */
        return 0;
    return !(opcode < 0x0D || (opcode >= 0x30 && opcode <= 0x37) || opcode == 0x77 || (opcode >= 0x80 && opcode <= 0x8F) ||
             opcode == 0xA0 || opcode == 0xA1 || opcode == 0xA2 || opcode == 0xA8 || opcode == 0xA9 || opcode == 0xAA ||
             opcode >= 0xFF || (opcode >= 0xC8 && opcode <= 0xCF));
}

/* The address that the instruction touches; 0 for none, and for memory that is its thread's by its segment. */
static uintptr_t touched_by(const uint8_t *at, const greg_t *regs) {
    int rex = 0, segment = NO_SEGMENT, kind;
    uint8_t opcode;
    for (;; at++) {
        if (*at == 0x64 || *at == 0x65)
            segment = THREADS_OWN;
        else if (*at != 0x66 && *at != 0xF2 && *at != 0xF3 && *at != 0xF0 && *at != 0x2E && *at != 0x36 && *at != 0x3E &&
                 *at != 0x26 && *at != 0x67)
            break;
    }
    if (segment == THREADS_OWN)
        return 0;
    if ((*at & 0xF0) == 0x40)
        rex = *at++;
    opcode = *at++;
    if (opcode == 0xC5) /* VEX and EVEX: the letters of REX stand there upside down */
        return at[1] == 0x77 ? 0 : operand(at + 2, 0, 0, regs);
    if (opcode == 0xC4)
        return operand(at + 3, !(at[0] & 0x40), !(at[0] & 0x20), regs);
    if (opcode == 0x62)
        return operand(at + 4, !(at[0] & 0x40), !(at[0] & 0x20), regs);
    if (opcode == 0x0F) {
        opcode = *at++;
        if (opcode == 0x38 || opcode == 0x3A)
            at++;
        else if (!has_operand(opcode))
            return 0;
        return operand(at, rex & 2, rex & 1, regs);
    }
    kind = kind_of(opcode, at);
    if (kind == 1)
        return operand(at, rex & 2, rex & 1, regs);
    return kind == 2 ? (uintptr_t)regs[REG_RDI] : kind == 3 ? (uintptr_t)regs[REG_RSI] : kind == 4;
}

static int is_shared(const SynSteps *steps, uintptr_t address, uintptr_t sp) {
    uint32_t i;
    if (address == 0 || (address >= sp - RED_ZONE && address < steps->stack_high))
        return 0;
    if (address < steps->low || address >= steps->high)
        return 1;
    for (i = 0; i < steps->writable; i++) {
        if (address >= steps->from[i] && address < steps->to[i])
            return 1;
    }
    return 0;
}

/* Whether a system call comes after which signals are blocked or another process runs: a trap would kill it. */
static int must_let_go(const uint8_t *at, const greg_t *regs) {
    if (at[0] != 0x0F || at[1] != 0x05)
        return 0;
    switch (regs[REG_RAX]) {
    case SYS_rt_sigprocmask: case SYS_rt_sigsuspend: case SYS_rt_sigaction:
    case SYS_clone: case SYS_fork: case SYS_vfork: case SYS_execve: case SYS_exit: case SYS_exit_group:
#ifdef SYS_clone3
    case SYS_clone3:
#endif
        return 1;
    default:
        return 0;
    }
}

/* ------------------------------------------------------------------------------------------------------- the trap */

static void on_trap(int signal, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    SynSteps *steps = current;
    const int error = errno;
    uintptr_t pc;
    if (info->si_code != TRAP_TRACE) { /* a breakpoint of the target's, or a signal that somebody sent */
        if (before.sa_flags & SA_SIGINFO) {
            before.sa_sigaction(signal, info, context);
        } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
            before.sa_handler(signal);
        } else {
            regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
            current = NULL;
            sigaction(SIGTRAP, &before, NULL);
            raise(signal);
        }
        return;
    }
    pc = (uintptr_t)regs[REG_RIP];
    if (steps != NULL && steps->entered_with == 0)
        steps->entered_with = (uintptr_t)regs[REG_RSP];
    if (steps == NULL || (uintptr_t)regs[REG_RSP] > steps->entered_with || ++steps->traps > MOST_TRAPS || must_let_go((const uint8_t *)pc, regs)) {
        regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
        return;
    }
    if (pc < steps->code_low || pc >= steps->code_high) {
        if (++steps->outside > MOST_OUTSIDE)
            regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    } else {
        const uintptr_t address = touched_by((const uint8_t *)pc, regs);
        if (is_shared(steps, address, (uintptr_t)regs[REG_RSP])) {
            steps->alike = address == steps->touched ? steps->alike + 1 : 0;
            steps->touched = address;
            steps->pc = pc;
            steps->count++;
            steps->on_step(steps);
        }
    }
    errno = error;
}

/* Where the target is entered: what the caller put into registers and on the stack goes on as it is. */
__thread uintptr_t syn_steps_entry __attribute__((tls_model("initial-exec"), visibility("hidden")));

__asm__(".text\n"
        ".globl syn_steps_enter\n"
        ".hidden syn_steps_enter\n"
        ".type syn_steps_enter, @function\n"
        "syn_steps_enter:\n\t"
        "movq syn_steps_entry@gottpoff(%rip), %r11\n\t"
        "movq %fs:(%r11), %r11\n\t"
        "pushfq\n\t"
        "orq $0x100, (%rsp)\n\t"
        "popfq\n\t"
        "jmpq *%r11\n"
        ".size syn_steps_enter, . - syn_steps_enter\n");

void syn_steps_enter(void);

typedef struct Search {
    SynSteps *steps;
    uintptr_t entry;
} Search;

/* The ranges of the library that holds the entry. */
static int on_library(struct dl_phdr_info *library, size_t size, void *data) {
    Search *search = data;
    SynSteps *steps = search->steps;
    uintptr_t fixed_from = 0, fixed_to = 0;
    int found = 0, i;
    (void)size;
    for (i = 0; i < library->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &library->dlpi_phdr[i];
        const uintptr_t from = (uintptr_t)library->dlpi_addr + part->p_vaddr, to = from + part->p_memsz;
        if (part->p_type == PT_LOAD && part->p_flags & PF_X && search->entry >= from && search->entry < to) {
            steps->code_low = from, steps->code_high = to;
            found = 1;
        }
    }
    if (!found)
        return 0;
    steps->low = UINTPTR_MAX, steps->high = 0;
    for (i = 0; i < library->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &library->dlpi_phdr[i];
        const uintptr_t from = (uintptr_t)library->dlpi_addr + part->p_vaddr, to = from + part->p_memsz;
        if (part->p_type == PT_GNU_RELRO)
            fixed_from = from, fixed_to = to;
        if (part->p_type != PT_LOAD)
            continue;
        steps->low = from < steps->low ? from : steps->low;
        steps->high = to > steps->high ? to : steps->high;
    }
    for (i = 0; i < library->dlpi_phnum && steps->writable < SYN_WRITABLE; i++) {
        const ElfW(Phdr) *part = &library->dlpi_phdr[i];
        uintptr_t from = (uintptr_t)library->dlpi_addr + part->p_vaddr;
        const uintptr_t to = from + part->p_memsz;
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_W))
            continue;
        if (fixed_from <= from && fixed_to > from) /* made read-only when it was loaded */
            from = fixed_to;
        if (from < to) {
            steps->from[steps->writable] = from;
            steps->to[steps->writable++] = to;
        }
    }
    return 1;
}

static int install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGTRAP, &action, &before) == 0;
}

static uintptr_t end_of_stack(void) {
    pthread_attr_t attributes;
    void *low = NULL;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        (void)pthread_attr_getstack(&attributes, &low, &size);
        pthread_attr_destroy(&attributes);
    }
    return (uintptr_t)low + size;
}

SynEntry syn_steps_begin(SynSteps *steps, SynEntry entry) {
    const uintptr_t at = (uintptr_t)entry;
    if (at < steps->code_low || at >= steps->code_high) {
        Search search;
        search.steps = steps, search.entry = at;
        steps->code_low = steps->code_high = steps->low = steps->high = 0;
        steps->writable = 0;
        dl_iterate_phdr(on_library, &search);
    }
    if (steps->stack_high == 0)
        steps->stack_high = end_of_stack();
    steps->count = steps->alike = steps->traps = steps->outside = 0;
    steps->touched = steps->pc = steps->entered_with = 0;
    syn_steps_entry = at;
    current = steps;
    return syn_steps_enter;
}

void syn_steps_end(void) {
    current = NULL;
}

static void nothing(void) {
}

int syn_steps_available(void) {
    static int known; /* 1: yes, -1: no */
    if (known == 0) {
        SynSteps steps;
        memset(&steps, 0, sizeof steps);
        known = -1;
        if (install()) { /* whether this machine really traps: some that imitate others do not */
            SynEntry entry = syn_steps_begin(&steps, nothing);
            entry();
            syn_steps_end();
            known = steps.traps > 0 ? 1 : -1;
        }
    }
    return known == 1;
}

#else

int syn_steps_available(void) {
    return 0;
}

SynEntry syn_steps_begin(SynSteps *steps, SynEntry entry) {
    steps->count = 0;
    return entry;
}

void syn_steps_end(void) {
}

#endif
