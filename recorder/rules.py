"""The rules of IMAPISyncProgressCallback by id, as data (interface.md, 3.2 and 3.3).

P rules bind the caller (the provider), H rules the implementer (the host).  Severity: E breach, W suspicious,
I note.  `source` names the page that states a rule, or says that it is implied.  T1 is ours: an argument that
the interface's types cannot carry.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

__all__ = ["RULES", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule asks, why it matters, how a breach is mended, and which document it comes from.

    `timed`: it is judged by rates and gaps, whose limits no document states.
    """

    id: str
    severity: str
    text: str
    why: str
    mend: str
    source: str
    timed: bool = False

    @property
    def side(self) -> str:
        return "host" if self.id.startswith("H") else "provider"

    @property
    def documented(self) -> bool:
        """A page states it, rather than our reading of one."""
        return not self.source.startswith("implied")

    @property
    def fails(self) -> bool:
        """Every E rule fails a check, and every W rule that a page states with its limits; the rest are notes."""
        return self.severity == "E" or (self.severity == "W" and self.documented and not self.timed)


def _rules(*rows: tuple[str, str, str, str, str, str], timed: Container[str]) -> dict[str, Rule]:
    return {row[0]: Rule(*row, timed=row[0] in timed) for row in rows}


_QI = "S:nf-unknwn-iunknown-queryinterface"
_DONE = "imapisyncprogresscallback-done.md"
_PROGRESS = "imapisyncprogresscallback-progress.md"
_ERROR = "imapisyncprogresscallback-error.md"

RULES = _rules(
    (
        "T1",
        "E",
        "Every argument fits the type that the interface declares for it.",
        "Native code would read other bits than the ones that were meant.",
        "Pass values of the declared type and width; the trace shows what was passed.",
        "interface.md, 1.2",
    ),
    (
        "P1",
        "E",
        "Get the callback by QueryInterface on punkCallBack before calling any of its methods.",
        "punkCallBack is an IUnknown; calling it as something else calls through the wrong vtable.",
        "Query for IID_IMAPISyncProgressCallback first and use the pointer that it gives.",
        "mapisib.md",
    ),
    (
        "P2",
        "E",
        "Count each reference that outlives SynchronizeInBackground, and release each one once.",
        "One Release too few leaks the host's object, one too many frees it in use.",
        "Pair every AddRef and successful QueryInterface with one Release.",
        "W:rules-for-managing-reference-counts.md",
    ),
    (
        "P3",
        "E",
        "Make no call after your last Release.",
        "The object may be gone: the call lands in freed memory.",
        "Release only when the last call has returned, on every thread.",
        "S:nf-unknwn-iunknown-release",
    ),
    (
        "P4",
        "I",
        "Cope with a NULL punkCallBack and with a failed QueryInterface: sync without reporting.",
        "A host may not want reports.",
        "Test the pointer once and skip the calls.",
        "implied",
    ),
    (
        "P5",
        "W",
        "Call Progress periodically, and not in a flood.",
        "A host repaints for each call; silence looks like a hang.",
        "Report by time or by step, a few times a second.",
        _PROGRESS,
    ),
    (
        "P6",
        "W",
        "Keep 0 <= ulIndex <= ulIndexMax and ulIndexMax > 0.",
        "A host that divides by the maximum or fills a bar is led astray.",
        "Hold reports back until the total is known, and clamp the index to it.",
        "implied; cf. implementing-a-progress-indicator.md",
    ),
    (
        "P7",
        "W",
        "Do not let ulIndex fall while ulIndexMax and the step's text stay.",
        "The bar runs backwards.",
        "Start a new step (new text or new maximum) when counting begins anew.",
        "implied",
    ),
    (
        "P8",
        "W",
        "Reach ulIndex = ulIndexMax before Done reports success.",
        "The bar stops short of its end although everything went well.",
        "Send a last Progress with the index at its maximum.",
        "implied; cf. imapiprogress-progress.md",
    ),
    (
        "P9",
        "E",
        "Texts are NUL-terminated, readable and unchanged until the call returns; the caller owns them.",
        "A host copies the text during the call.",
        "Keep the buffer alive and untouched until the call is back.",
        "W:memory-management-rules.md",
    ),
    (
        "P10",
        "W",
        "Give Error a failure or warning code, not S_OK, and a text.",
        "An error that says success, or says nothing, helps nobody.",
        "Pass the code that failed and one sentence about it.",
        _ERROR,
    ),
    (
        "P11",
        "I",
        "Error does not end a sync: calls may follow, and Done still must.",
        "A host waits for Done.",
        "Call Done on the error path too.",
        "implied from " + _ERROR,
    ),
    (
        "P12",
        "E",
        "Call Done when the sync is over, also when it failed or was cancelled.",
        "Without Done the host shows a sync that never ends and keeps the thread's event.",
        "Call Done in the one place that every path leaves through.",
        _DONE,
    ),
    (
        "P13",
        "E",
        "Make no Progress or Error call once Done has been called, nor while it runs.",
        "The host has freed what it kept for the sync.",
        "Join the worker threads before calling Done.",
        "implied",
    ),
    (
        "P14",
        "E",
        "Call Done exactly once per sync.",
        "The host closes the event handle again: it may be somebody else's by now.",
        "Guard the final report so that one path alone can make it.",
        "implied",
    ),
    (
        "P15",
        "W",
        "Done's handle is NULL or the event stored in *phSyncDoneEvent; leave it alone afterwards.",
        "The host closes what it is given.",
        "Hand over the event itself, never a pseudo-handle, and do not close it.",
        "implied from " + _DONE,
    ),
    (
        "P16",
        "E",
        "Fill *phSyncDoneEvent before SynchronizeInBackground returns successfully.",
        "The host waits on it at once.",
        "Create the event before starting the thread.",
        "mapisib.md",
    ),
    (
        "P17",
        "E",
        "If SynchronizeInBackground fails, make no callback calls and no Done.",
        "The host has given up on the sync.",
        "Start the thread only when nothing can fail any more.",
        "implied",
    ),
    (
        "P18",
        "W",
        "Let Done's result agree with the errors reported before.",
        "A failed Error and then Done(S_OK), or Done(failed) without an Error, hides what happened.",
        "Remember the worst code that you reported and pass it to Done, or a warning such as "
        "MAPI_W_PARTIAL_COMPLETION.",
        "implied",
    ),
    (
        "P19",
        "E",
        "Each thread that calls has initialised MAPI (and COM) first.",
        "Calls from other threads fail or corrupt the apartment.",
        "Call MAPIInitialize at the start of the worker thread.",
        "using-thread-safe-objects.md",
    ),
    (
        "P20",
        "W",
        "Let one thread make the calls, or do not let calls overlap.",
        "Many hosts are written for one caller at a time.",
        "Serialise the reports through one queue or lock.",
        "implied",
    ),
    (
        "P21",
        "W",
        "Hold no lock of yours during a call: it may block, pump messages or re-enter.",
        "A host that calls back into the provider deadlocks.",
        "Copy what the report needs, unlock, then call.",
        "implied; cf. W:single-threaded-apartments.md",
    ),
    (
        "P22",
        "I",
        "Do not use what AddRef and Release return.",
        "The counts are for diagnosis only.",
        "Ignore the value.",
        "strategies-for-error-handling.md",
    ),
    (
        "P23",
        "W",
        "An answer other than S_OK is no documented cancel: keep the sequence legal whatever comes back.",
        "Hosts differ in what they answer.",
        "Go on to Done on every path.",
        "implied",
    ),
    (
        "P24",
        "E",
        "Stop calling and release before StoreLogoff, Logoff or DoFastShutdown returns.",
        "The host's code may be unloaded next.",
        "Join the worker in the logoff path.",
        "implied from shutting-down-a-service-provider.md",
    ),
    (
        "H1",
        "E",
        "QueryInterface gives its own IID and IUnknown with a reference, else E_NOINTERFACE and a NULL pointer; "
        "a NULL ppv gets E_POINTER or E_INVALIDARG.",
        "Callers probe for interfaces and trust the answer.",
        "Set *ppv on every path and count the reference.",
        _QI,
    ),
    (
        "H2",
        "E",
        "QueryInterface for IUnknown always gives one pointer value.",
        "It is COM's test for object identity.",
        "Return the same IUnknown from every interface.",
        "W:rules-for-implementing-queryinterface.md",
    ),
    (
        "H3",
        "E",
        "The set of interfaces is static, also after Done.",
        "Proxies cache the answers.",
        "Do not let QueryInterface depend on state.",
        "W:rules-for-implementing-queryinterface.md",
    ),
    (
        "H4",
        "E",
        "QueryInterface is reflexive, symmetric and transitive.",
        "Any interface pointer must lead to all the others.",
        "Answer from one table for the whole object.",
        "W:rules-for-implementing-queryinterface.md",
    ),
    (
        "H5",
        "E",
        "Reference counts are atomic and balanced; the object goes at 0, never before.",
        "Anything else is a leak or a use after free.",
        "Use interlocked operations.",
        "W:implementing-reference-counting.md",
    ),
    (
        "H6",
        "E",
        "Every call returns S_OK or a valid HRESULT.",
        "S_OK is the only value that the method pages list, and providers do not expect another.",
        "Return S_OK (from Python: None or 0); keep failures of the display to yourself.",
        _PROGRESS,
    ),
    (
        "H7",
        "E",
        "Progress takes a NULL text; index and maximum still count.",
        "NULL is how a provider moves the bar without a new text.",
        "Keep the last text when it is NULL.",
        _PROGRESS,
    ),
    (
        "H8",
        "E",
        "Done takes a NULL handle.",
        "A provider without an event passes NULL.",
        "Close the handle only if there is one.",
        _DONE,
    ),
    (
        "H9",
        "W",
        "Error with a NULL text does not crash.",
        "Nothing rules it out, and providers do it.",
        "Show the code's own name.",
        "implied",
    ),
    (
        "H10",
        "W",
        "Any ulIndex and ulIndexMax are taken, 0 and index > max too; what is shown stays in 0..100 %.",
        "Of 92 real captures 83 pass a maximum of 0 at some point.",
        "Clamp, use 64-bit arithmetic, and treat 0 as 'not known'.",
        "implied",
    ),
    (
        "H11",
        "E",
        "Copy the text during the call and keep no pointer of the caller's.",
        "The caller frees it when the call returns.",
        "Copy into a string of your own.",
        "W:memory-management-rules.md",
    ),
    (
        "H12",
        "W",
        "A text is data: not a format, bounded in length, control and bidi characters contained.",
        "Folder names come from strangers.",
        "Pass it as an argument, never as the format or as markup.",
        "implied",
    ),
    (
        "H13",
        "W",
        "Error goes by severity: warnings stay warnings, S_OK and unknown codes are taken.",
        "The page allows warnings, and codes come from many components.",
        "Test with FAILED(), and treat unknown failures as E_UNEXPECTED.",
        _ERROR,
    ),
    (
        "H14",
        "E",
        "Done closes a non-NULL handle exactly once, and only that one.",
        "Unclosed it leaks; closed twice it may close a stranger's handle.",
        "Close it in Done and forget it there.",
        _DONE,
    ),
    (
        "H15",
        "W",
        "After Done, late or second calls change no visible state and close nothing again.",
        "Worker threads report late; it happens in the field.",
        "Test a finished flag first, under the same lock.",
        "implied; cf. S:nn-bits-ibackgroundcopycallback.md",
    ),
    (
        "H16",
        "W",
        "The final status depends on Done's result alone.",
        "Errors before it are detail.",
        "Take the status from Done.",
        "implied from " + _DONE,
    ),
    (
        "H17",
        "E",
        "Callable on any thread, concurrently and re-entrantly.",
        "MAPI makes no wrapper for progress callbacks: thread safety is the host's duty.",
        "Guard the state with a lock that is not held while calling out.",
        "implementing-thread-safe-objects.md",
    ),
    (
        "H18",
        "W",
        "Return promptly; never wait in a call for the provider's thread or event.",
        "The provider's worker stands still meanwhile, or for ever.",
        "Post to the user interface and return.",
        "implied; cf. S:nn-bits-ibackgroundcopycallback.md",
    ),
    (
        "H19",
        "W",
        "Memory stays bounded under floods of calls and long texts.",
        "A sync of a large store reports for hours.",
        "Bound lists and texts.",
        "implied",
    ),
    (
        "H20",
        "W",
        "The last Release without Done frees everything.",
        "Providers die.",
        "Treat it as an abandoned sync.",
        "implied",
    ),
    (
        "H21",
        "W",
        "Two syncs at a time, or one object used again, do not mix their state.",
        "A host syncs several stores at once.",
        "Keep the state in the object, and one object per sync.",
        "implied",
    ),
    (
        "H22",
        "E",
        "If SynchronizeInBackground failed, wait neither for Done nor for the event.",
        "Neither will come.",
        "Wait only after success.",
        "implied",
    ),
    (
        "H23",
        "W",
        "The same calls give the same visible state: no wall clock, no addresses.",
        "Otherwise a recorded failure cannot be replayed.",
        "Take clocks from outside.",
        "implied",
    ),
    timed={"P5"},
)
