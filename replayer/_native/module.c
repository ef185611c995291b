/* The Python module `replayer._native.core`, in the limited API of Python 3.11: replayer/compiled.py is its only user. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "fault.h"
#include "player.h"
#include "screen.h"
#include "steps.h"
#include "threads.h"

#include <stdlib.h>

#define FASTCALL(function) ((PyCFunction)(void (*)(void))(function))
#define PLAYER "synctape.player"
#define SCREEN "synctape.screen"

static PyObject *wrong_count(const char *signature) {
    PyErr_Format(PyExc_TypeError, "write it as %s", signature);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------- player */

static void free_player(PyObject *capsule) {
    syn_player_free(PyCapsule_GetPointer(capsule, PLAYER));
}

static PyObject *make_player(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    Py_buffer description;
    unsigned long guard, slots;
    unsigned long long seed;
    SynPlayer *player;
    PyObject *capsule;
    (void)self;
    if (count != 4)
        return wrong_count("player(description, guard, slots, seed)");
    guard = PyLong_AsUnsignedLong(args[1]);
    slots = PyLong_AsUnsignedLong(args[2]);
    seed = PyLong_AsUnsignedLongLong(args[3]);
    if (PyErr_Occurred())
        return NULL;
    if (guard > SYN_STRICT || slots > 1u << 16) {
        PyErr_SetString(PyExc_ValueError, "no such guard, or too many slots");
        return NULL;
    }
    if (PyObject_GetBuffer(args[0], &description, PyBUF_SIMPLE) != 0)
        return NULL;
    player = syn_player_new(description.buf, (size_t)description.len, (SynGuard)guard, (uint32_t)slots, seed);
    PyBuffer_Release(&description);
    if (player == NULL) {
        PyErr_SetString(PyExc_ValueError, "no description of an interface on IUnknown, or no memory");
        return NULL;
    }
    capsule = PyCapsule_New(player, PLAYER, free_player);
    if (capsule == NULL)
        syn_player_free(player);
    return capsule;
}

/* The buffers of one call of `play`. */
typedef struct Buffers {
    Py_buffer stream, handles, values, elapsed, outputs, journal;
} Buffers;

static int get_buffer(PyObject *from, Py_buffer *buffer, int flags) {
    buffer->obj = NULL;
    buffer->buf = NULL;
    buffer->len = 0;
    return from == Py_None ? 0 : PyObject_GetBuffer(from, buffer, flags);
}

static void release_buffers(Buffers *b) {
    Py_buffer *all[6];
    int i;
    all[0] = &b->stream, all[1] = &b->handles, all[2] = &b->values;
    all[3] = &b->elapsed, all[4] = &b->outputs, all[5] = &b->journal;
    for (i = 0; i < 6; i++) {
        if (all[i]->obj != NULL)
            PyBuffer_Release(all[i]);
    }
}

static PyObject *play(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    const char *signature = "play(player, object, references, stream, first, handles, values, elapsed, outputs, journal, "
                            "journal_base, stop_at_handles)";
    SynPlayer *player;
    SynPlay p = {0};
    Buffers b = {0};
    SynStatus status = SYN_MALFORMED;
    int failed;
    (void)self;
    if (count != 12)
        return wrong_count(signature);
    if ((player = PyCapsule_GetPointer(args[0], PLAYER)) == NULL)
        return NULL;
    p.object = PyLong_AsVoidPtr(args[1]);
    p.references = (uint32_t)PyLong_AsUnsignedLong(args[2]);
    p.first = PyLong_AsUnsignedLongLong(args[4]);
    p.journal_base = PyLong_AsUnsignedLongLong(args[10]);
    p.stop_at_handles = PyObject_IsTrue(args[11]);
    if (PyErr_Occurred())
        return NULL;
    if (p.object == NULL) {
        PyErr_SetString(PyExc_ValueError, "NULL is no interface pointer");
        return NULL;
    }
    failed = get_buffer(args[3], &b.stream, PyBUF_SIMPLE) || get_buffer(args[5], &b.handles, PyBUF_SIMPLE) ||
             get_buffer(args[6], &b.values, PyBUF_WRITABLE) || get_buffer(args[7], &b.elapsed, PyBUF_WRITABLE) ||
             get_buffer(args[8], &b.outputs, PyBUF_WRITABLE) || get_buffer(args[9], &b.journal, PyBUF_WRITABLE);
    if (!failed) {
        p.stream = b.stream.buf;
        p.size = (size_t)b.stream.len;
        p.handles = b.handles.buf;
        p.handle_count = (size_t)b.handles.len / sizeof *p.handles;
        p.values = b.values.buf;
        p.elapsed = b.elapsed.buf;
        p.outputs = b.outputs.buf;
        p.capacity = (size_t)b.values.len / sizeof *p.values;
        p.journal = b.journal.buf == NULL ? NULL : (volatile uint64_t *)b.journal.buf + 1; /* after the phase */
        if ((p.values != NULL && p.capacity == 0) ||
            (p.elapsed != NULL && (size_t)b.elapsed.len / sizeof *p.elapsed < p.capacity) ||
            (p.outputs != NULL && (size_t)b.outputs.len / sizeof *p.outputs / SYN_MAX_WORDS < p.capacity) ||
            ((p.elapsed != NULL || p.outputs != NULL) && p.values == NULL) ||
            (p.journal != NULL && (size_t)b.journal.len < 2 * sizeof *p.journal)) {
            PyErr_SetString(PyExc_ValueError, "a buffer has no room");
            failed = 1;
        }
    }
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        status = syn_play(player, &p);
        Py_END_ALLOW_THREADS
    }
    release_buffers(&b);
    if (failed)
        return NULL;
    return Py_BuildValue("(iKKIi)", (int)status, (unsigned long long)p.made, (unsigned long long)p.read,
                         (unsigned int)p.references, p.handed);
}

static PyObject *forget(PyObject *self, PyObject *capsule) {
    SynPlayer *player = PyCapsule_GetPointer(capsule, PLAYER);
    (void)self;
    if (player == NULL)
        return NULL;
    syn_player_forget(player);
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------------------------------------------- threads */

#define LANE_BUFFERS 5   /* of each lane: stream, numbers, changes, values, outputs */
#define SHARED_BUFFERS 7 /* handles, strangers, entered, left, steps, handed over, journal */

typedef struct Crew {
    SynThreads threads;
    SynLane lanes[SYN_MAX_LANES];
    Py_buffer buffers[SHARED_BUFFERS + LANE_BUFFERS * SYN_MAX_LANES];
    PyObject *players[SYN_MAX_LANES];
} Crew;

#define REFERENCES_OF_A_LANE (1u << 20) /* more than it releases: what is left says what its calls changed */

static void release_crew(Crew *crew) {
    size_t i;
    for (i = 0; i < sizeof crew->buffers / sizeof *crew->buffers; i++) {
        if (crew->buffers[i].obj != NULL)
            PyBuffer_Release(&crew->buffers[i]);
    }
    for (i = 0; i < SYN_MAX_LANES; i++)
        Py_XDECREF(crew->players[i]);
    free(crew);
}

/* One lane, given as (player, stream, numbers, changes, values, outputs). */
static int read_lane(Crew *crew, size_t at, PyObject *given, size_t calls) {
    SynLane *lane = &crew->lanes[at];
    Py_buffer *buffers = crew->buffers + SHARED_BUFFERS + LANE_BUFFERS * at;
    size_t i;
    if (!PyTuple_Check(given) || PyTuple_Size(given) != 1 + LANE_BUFFERS) {
        PyErr_SetString(PyExc_TypeError, "a lane is (player, stream, numbers, changes, values, outputs)");
        return -1;
    }
    crew->players[at] = PyTuple_GetItem(given, 0);
    Py_INCREF(crew->players[at]);
    if ((lane->player = PyCapsule_GetPointer(crew->players[at], PLAYER)) == NULL)
        return -1;
    for (i = 0; i < LANE_BUFFERS; i++) {
        if (get_buffer(PyTuple_GetItem(given, (Py_ssize_t)i + 1), &buffers[i], i >= 3 ? PyBUF_WRITABLE : PyBUF_SIMPLE))
            return -1;
    }
    lane->play.stream = buffers[0].buf;
    lane->play.size = (size_t)buffers[0].len;
    lane->play.numbers = buffers[1].buf;
    lane->calls = (size_t)buffers[1].len / sizeof *lane->play.numbers;
    lane->changes = buffers[2].buf;
    lane->change_count = (size_t)buffers[2].len / sizeof *lane->changes / 2;
    lane->play.values = buffers[3].buf;
    lane->play.outputs = buffers[4].buf;
    lane->play.capacity = lane->calls;
    lane->play.references = REFERENCES_OF_A_LANE;
    for (i = 0; i < lane->calls; i++) {
        if (lane->play.numbers[i] >= calls)
            break;
    }
    if (lane->calls == 0 || i < lane->calls || (size_t)buffers[3].len / sizeof *lane->play.values < lane->calls ||
        (lane->play.outputs != NULL &&
         (size_t)buffers[4].len / sizeof *lane->play.outputs / SYN_MAX_WORDS < lane->calls)) {
        PyErr_SetString(PyExc_ValueError, "a lane has no calls, one that is not there, or no room");
        return -1;
    }
    return 0;
}

static PyObject *play_threads(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    const char *signature = "play_threads(lanes, object, handles, strangers, entered, left, steps, handed_over, journal, "
                            "journal_base, seed, stepping)";
    Crew *crew;
    SynThreads *t;
    SynPlayed played = SYN_NO_THREADS;
    PyObject *ended, *stuck, *given;
    void *object;
    unsigned long long journal_base;
    Py_ssize_t lanes, i;
    (void)self;
    if (count != 12)
        return wrong_count(signature);
    if (!PyList_Check(args[0]) || (lanes = PyList_Size(args[0])) > SYN_MAX_LANES)
        return wrong_count(signature);
    if ((crew = calloc(1, sizeof *crew)) == NULL)
        return PyErr_NoMemory();
    t = &crew->threads;
    object = PyLong_AsVoidPtr(args[1]);
    journal_base = PyLong_AsUnsignedLongLong(args[9]);
    t->seed = PyLong_AsUnsignedLongLong(args[10]);
    t->stepping = (int)PyLong_AsLong(args[11]);
    for (i = 0; i < SHARED_BUFFERS && !PyErr_Occurred(); i++)
        (void)get_buffer(args[2 + i], &crew->buffers[i], i > 0 ? PyBUF_WRITABLE : PyBUF_SIMPLE);
    t->lanes = crew->lanes;
    t->lane_count = (size_t)lanes;
    t->strangers = crew->buffers[1].buf;
    t->entered = crew->buffers[2].buf;
    t->calls = (size_t)crew->buffers[2].len / sizeof *t->entered;
    t->left = crew->buffers[3].buf;
    t->steps = crew->buffers[4].buf;
    t->handed_over = crew->buffers[5].buf;
    t->capacity = (size_t)crew->buffers[5].len / sizeof *t->handed_over;
    if (!PyErr_Occurred() &&
        (object == NULL || (size_t)crew->buffers[3].len / sizeof *t->left < t->calls ||
         (size_t)crew->buffers[4].len / sizeof *t->steps < t->calls ||
         (t->strangers != NULL &&
          crew->buffers[1].len / (Py_ssize_t)sizeof *t->strangers < crew->buffers[0].len / (Py_ssize_t)sizeof(SynHandle)) ||
         (crew->buffers[6].buf != NULL && crew->buffers[6].len < 16)))
        PyErr_SetString(PyExc_ValueError, "no object, or a buffer has no room");
    for (i = 0; i < lanes && !PyErr_Occurred(); i++) {
        SynPlay *play = &crew->lanes[i].play;
        play->object = object;
        play->handles = crew->buffers[0].buf;
        play->handle_count = (size_t)crew->buffers[0].len / sizeof *play->handles;
        play->journal = crew->buffers[6].buf == NULL ? NULL : (volatile uint64_t *)crew->buffers[6].buf + 1;
        play->journal_base = journal_base;
        (void)read_lane(crew, (size_t)i, PyList_GetItem(args[0], i), t->calls);
    }
    if (PyErr_Occurred()) {
        release_crew(crew);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    played = syn_threads_play(t);
    Py_END_ALLOW_THREADS
    ended = PyList_New(0);
    stuck = PyList_New(0);
    for (i = 0; i < lanes && ended != NULL && stuck != NULL; i++) {
        const SynLane *lane = &crew->lanes[i];
        PyObject *one = Py_BuildValue("(iKL)", (int)lane->status, (unsigned long long)lane->play.made,
                                      (long long)lane->play.references - (long long)REFERENCES_OF_A_LANE);
        const SynFault *stack = t->stacks[i];
        PyObject *holder = Py_BuildValue("(iy#)", t->holders[i] == UINT32_MAX ? -1 : (int)t->holders[i],
                                         stack != NULL ? stack->stack : "", (Py_ssize_t)(stack != NULL ? stack->length : 0));
        if (one != NULL)
            (void)PyList_Append(ended, one);
        if (holder != NULL)
            (void)PyList_Append(stuck, holder);
        Py_XDECREF(one);
        Py_XDECREF(holder);
    }
    given = Py_BuildValue("(iiKNN)", (int)played, t->stepping, (unsigned long long)t->handed_over_count, ended, stuck);
    if (played != SYN_DEADLOCK) /* else it is theirs who stay behind */
        release_crew(crew);
    return given;
}

static PyObject *can_step(PyObject *self, PyObject *nothing) {
    (void)self, (void)nothing;
    return PyBool_FromLong(syn_steps_available());
}

/* ------------------------------------------------------------------------------------------------------- screen */

static void free_screen(PyObject *capsule) {
    syn_screen_free(PyCapsule_GetPointer(capsule, SCREEN));
}

static PyObject *make_screen(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    SynScreen *screen;
    PyObject *capsule;
    Py_buffer iid, terminal;
    SynCover cover;
    void *factory, *state;
    (void)self;
    if (count != 8)
        return wrong_count("screen(factory, iid, terminal, collect, watch, operands, shows, state)");
    factory = PyLong_AsVoidPtr(args[0]);
    cover.collect = (uint32_t(*)(void))(uintptr_t)PyLong_AsVoidPtr(args[3]);
    cover.watch = (void (*)(int))(uintptr_t)PyLong_AsVoidPtr(args[4]);
    cover.shows = (int (*)(void))(uintptr_t)PyLong_AsVoidPtr(args[6]);
    cover.operands = (uint32_t(*)(SynOperands *, uint32_t))(uintptr_t)PyLong_AsVoidPtr(args[5]);
    state = PyLong_AsVoidPtr(args[7]);
    if (PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[1], &iid, PyBUF_SIMPLE) != 0)
        return NULL;
    if (factory == NULL || iid.len != 16) {
        PyBuffer_Release(&iid);
        PyErr_SetString(PyExc_ValueError, "an address and 16 bytes are needed");
        return NULL;
    }
    if (PyObject_GetBuffer(args[2], &terminal, PyBUF_SIMPLE) != 0) {
        PyBuffer_Release(&iid);
        return NULL;
    }
    screen = syn_screen_new((SynFactory)(uintptr_t)factory, iid.buf, terminal.buf, (size_t)terminal.len, &cover,
                            (SynState)(uintptr_t)state);
    PyBuffer_Release(&iid);
    PyBuffer_Release(&terminal);
    if (screen == NULL)
        return PyErr_NoMemory();
    capsule = PyCapsule_New(screen, SCREEN, free_screen);
    if (capsule == NULL)
        syn_screen_free(screen);
    return capsule;
}

static PyObject *play_list(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    SynScreen *made;
    SynBatch batch = {0};
    SynScreenStatus status = SYN_NO_LIST;
    Py_buffer sequences, results, journal;
    (void)self;
    if (count != 8)
        return wrong_count("play_list(screen, player, sequences, results, journal, number, stop, slow)");
    if ((made = PyCapsule_GetPointer(args[0], SCREEN)) == NULL ||
        (batch.player = PyCapsule_GetPointer(args[1], PLAYER)) == NULL)
        return NULL;
    batch.number = PyLong_AsUnsignedLongLong(args[5]);
    batch.stop = PyLong_AsUnsignedLongLong(args[6]);
    batch.slow = PyLong_AsUnsignedLongLong(args[7]);
    if (PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[2], &sequences, PyBUF_SIMPLE) != 0)
        return NULL;
    if (PyObject_GetBuffer(args[3], &results, PyBUF_WRITABLE) != 0) {
        PyBuffer_Release(&sequences);
        return NULL;
    }
    if (PyObject_GetBuffer(args[4], &journal, PyBUF_WRITABLE) != 0) {
        PyBuffer_Release(&sequences);
        PyBuffer_Release(&results);
        return NULL;
    }
    batch.sequences = sequences.buf;
    batch.sequences_size = (size_t)sequences.len;
    batch.results = results.buf;
    batch.results_size = (size_t)results.len;
    batch.journal = journal.buf;
    if ((size_t)journal.len >= 2 * sizeof *batch.journal) {
        Py_BEGIN_ALLOW_THREADS
        status = syn_screen(made, &batch);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&sequences);
    PyBuffer_Release(&results);
    PyBuffer_Release(&journal);
    return Py_BuildValue("(iKKi)", (int)status, (unsigned long long)batch.number, (unsigned long long)batch.needed,
                         (int)batch.answer);
}

static PyObject *release(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    SynPlay p = {0};
    int64_t answer = -1;
    (void)self;
    if (count != 2)
        return wrong_count("release(object, references)");
    p.object = PyLong_AsVoidPtr(args[0]);
    p.references = (uint32_t)PyLong_AsUnsignedLong(args[1]);
    if (PyErr_Occurred())
        return NULL;
    if (p.object != NULL) {
        Py_BEGIN_ALLOW_THREADS
        answer = syn_play_release(&p);
        Py_END_ALLOW_THREADS
    }
    return PyLong_FromLongLong(answer);
}

/* ------------------------------------------------------------------------------------------------------- faults */

static PyObject *watch(PyObject *self, PyObject *memory) {
    static Py_buffer kept; /* as long as the process, which may fault at any time */
    Py_buffer buffer;
    (void)self;
    if (PyObject_GetBuffer(memory, &buffer, PyBUF_WRITABLE) != 0)
        return NULL;
    if (buffer.len < SYN_FAULT_BYTES || syn_fault_watch(buffer.buf) != 0) {
        PyBuffer_Release(&buffer);
        PyErr_SetString(PyExc_ValueError, "too little memory for a fault record, or no handlers");
        return NULL;
    }
    if (kept.obj != NULL)
        PyBuffer_Release(&kept);
    kept = buffer;
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------------------------------------------- module */

static PyMethodDef methods[] = {
    {"player", FASTCALL(make_player), METH_FASTCALL,
     "player(description, guard, slots, seed): a player for one interface (player.h)"},
    {"play", FASTCALL(play), METH_FASTCALL,
     "play(player, object, references, stream, first, handles, values, elapsed, outputs, journal, "
     "journal_base, stop_at_handles):\n"
     "make calls; gives (status, made, read, references, handed)"},
    {"play_threads", FASTCALL(play_threads), METH_FASTCALL,
     "play_threads(lanes, object, handles, strangers, entered, left, steps, handed_over, journal, journal_base, seed,\n"
     "stepping): make the calls of several threads, each lane (player, stream, numbers, changes, values,\n"
     "outputs); gives (played,\n"
     "stepping, handed_over, [(status, made, references)], [(holder, stack)]) (threads.h)"},
    {"can_step", can_step, METH_NOARGS, "can_step(): whether native code can be stopped step by step here (steps.h)"},
    {"forget", forget, METH_O, "forget(player): forget the texts that records have defined"},
    {"screen", FASTCALL(make_screen), METH_FASTCALL,
     "screen(factory, iid, terminal, collect, watch, operands, shows, state): what screens the objects of a factory\n"
     "(screen.h); the functions are addresses, 0 for none"},
    {"play_list", FASTCALL(play_list), METH_FASTCALL,
     "play_list(screen, player, sequences, results, journal, number, stop, slow): play sequences of a list; gives\n"
     "(status, number, needed, answer)"},
    {"release", FASTCALL(release), METH_FASTCALL,
     "release(object, references): give them back; what the last Release answered, -1 if there was none"},
    {"watch", watch, METH_O, "watch(memory): have faults of this process written there (fault.h)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "core", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_core(void) {
    return PyModule_Create(&definition);
}
