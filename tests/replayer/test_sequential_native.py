"""Calls at the same time on native objects are judged by answers, and by the state that the library exports."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sequences import CALLBACK, calls

from recorder.calls import Call, Header, Trace
from replayer.isolation import Isolated
from replayer.native_threads import can_step
from replayer.oracles import Judge
from replayer.player import PlayOptions, Run
from replayer.sequential_native import state_of
from replayer.target import load_target

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(sys.platform == "win32" or not can_step(), reason="no steps of native code"),
]

Build = Callable[[str | Path], Path]


def on(thread: int, line: str, *switches: int) -> Call:
    (call,) = calls(line)
    return call._replace(thread=thread, switches=switches)


FAR, NEAR = "Progress(NULL, 1, 100)", "Progress(NULL, 5, 6)"


def played(library: Path, *sequence: Call, **options: Any) -> Run:
    trace = Trace.from_calls(sequence, Header(interface=CALLBACK, scheduled=True))
    with Isolated(f"{library}:create", options=PlayOptions(**options)) as player:
        run: Run = player.play(trace)
    return run


def test_a_state_that_no_order_leaves_is_found(library: Build) -> None:
    torn = played(library("stores_a_pair"), on(0, FAR, 2), on(1, NEAR))
    (finding,) = Judge.of(torn.trace).findings(torn)
    assert (finding.code, finding.oracle, finding.method) == ("X16", "linearizability", "")
    assert finding.place.startswith("stores_a_pair")
    assert finding.message.startswith("what is shown: as after no order of the same calls (it is ")


@pytest.mark.parametrize("step", [0, 1, 3])
def test_other_schedules_of_it_are_fine(library: Build, step: int) -> None:
    run = played(library("stores_a_pair"), on(0, FAR, step), on(1, NEAR))
    assert Judge.of(run.trace).findings(run) == [] and not run.unjudged


def test_it_is_not_looked_for_where_nobody_wants_to_know(library: Build) -> None:
    run = played(library("stores_a_pair"), on(0, FAR, 2), on(1, NEAR), skip=("linearizability", "lost-update"))
    assert Judge.of(run.trace).findings(run) == []


def test_a_library_says_which_state_an_object_is_in_or_nothing(library: Build) -> None:
    for name, state in (("stores_a_pair", 0), ("good_host", None)):
        target = load_target(f"{library(name)}:create")
        instance = target.instance()
        assert state_of(target, instance) == state
        instance.close()
        instance.handles.release()


MEETS = """
#include <pthread.h>
#include "callback.h"

typedef struct Host {
    Callback callback;
    uint32_t inside;
} Host;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    Host *host = (Host *)self;
    (void)text, (void)maximum;
    pthread_mutex_lock(&lock);
    host->inside++;
    pthread_cond_broadcast(&changed);
    while (host->inside < 2)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return (int32_t)index;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Host), &vtbl);
}
"""


def test_where_calls_need_each_other_it_says_that_it_cannot_judge(library: Build, tmp_path: Path) -> None:
    source = tmp_path / "meets.c"
    source.write_text(MEETS)
    run = played(library(source), on(0, FAR), on(1, NEAR))
    assert Judge.of(run.trace).findings(run) == []
    assert run.unjudged == "gave up: the calls cannot be made one after the other, since they block"
