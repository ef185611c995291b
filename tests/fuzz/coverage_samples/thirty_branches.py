"""A progress callback of about thirty branches, as hosts write them: the benchmark's target."""

from __future__ import annotations

S_OK = 0
S_FALSE = 1
E_FAIL = -2147467259
E_INVALIDARG = -2147024809
ABORT = -2147467260


class ProgressDialog:
    """Keeps the state of a dialog: a bar, a label, a list of errors, a result."""

    def __init__(self) -> None:
        self.bar = 0
        self.top = 0
        self.label = ""
        self.errors: list[str] = []
        self.done = False
        self.cancelled = False
        self.updates = 0
        self.last = -1

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if self.done:
            return E_FAIL
        if self.cancelled:
            return ABORT
        if text is None:
            label = "..."
        elif len(text) > 60:
            label = text[:57] + "..."
        else:
            label = text
        if maximum == 0:
            percent = 0
        elif index > maximum:
            percent = 100
        else:
            percent = index * 100 // maximum
        if maximum != self.top:
            self.top = maximum
            self.last = -1
        if percent < self.last:
            self.bar = percent
        elif percent > self.last + 10 or percent == 100:
            self.bar = percent
            self.updates += 1
        if label != self.label:
            self.label = label
            if "\n" in label:
                self.label = label.replace("\n", " ")
        self.last = percent
        return S_OK

    def Error(self, text: str | None, code: int) -> int:
        if self.done:
            return E_FAIL
        severity = "error" if code < 0 else "warning"
        if code == 0:
            return E_INVALIDARG
        message = f"{severity} 0x{code & 0xFFFFFFFF:08X}"
        if text:
            for line in text.splitlines():
                if line.strip():
                    message += " " + line
        if len(self.errors) < 100:
            self.errors.append(message)
        else:
            self.cancelled = True
        if code == ABORT:
            self.cancelled = True
        return S_OK if severity == "warning" or not self.cancelled else S_FALSE

    def Done(self, handle: int | None) -> int:
        if self.done:
            return E_FAIL
        self.done = True
        if handle is not None and handle != -1:
            try:
                self.label = f"closed {int(handle):d}"
            except (TypeError, ValueError):
                return E_INVALIDARG
        while self.errors and not self.errors[-1]:
            self.errors.pop()
        return S_OK if not self.errors else S_FALSE


def create() -> ProgressDialog:
    return ProgressDialog()
