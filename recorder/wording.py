"""Broken rules in words, as `check` and `record` print them."""

from __future__ import annotations

from collections.abc import Iterator

from recorder.checking import Checked

__all__ = ["calls_in_words", "report_lines", "rule_lines", "rules_in_words"]


def calls_in_words(checked: Checked) -> str:
    """`1 call`, `12 calls`."""
    return f"{checked.calls} call{'' if checked.calls == 1 else 's'}"


def rules_in_words(checked: Checked) -> str:
    """`breaks P12 once, P6 3 times`, what fails first."""
    counts = [(b.rule.id, len(b.numbers)) for b in sorted(checked.broken, key=lambda b: not b.fails)]
    broken = [f"{rule} {'once' if count == 1 else f'{count} times'}" for rule, count in counts]
    return f"breaks {', '.join(broken)}" if broken else "no rule broken"


def recorded_in_words(path: str, checked: Checked, dropped: int, seconds: float) -> str:
    """`run.tape: 12 calls in 0.500 s; no rule broken`; `dropped` files of it are no longer there."""
    after = f", after {dropped} file{' that was' if dropped == 1 else 's that were'} dropped" if dropped else ""
    return f"{path}: {calls_in_words(checked)}{after} in {seconds:.3f} s; {rules_in_words(checked)}"


def report_lines(checked: Checked) -> Iterator[str]:
    """The verdict, and what it is for."""
    yield f"{checked.path}: {'FAILED' if checked.fails else 'ok'}, {calls_in_words(checked)}, {checked.level}"
    yield from rule_lines(checked)


def rule_lines(checked: Checked) -> Iterator[str]:
    """Two lines for each broken rule, what fails first."""
    for broken in sorted(checked.broken, key=lambda b: not b.fails):
        rule = broken.rule
        note = "" if broken.fails else " (a note)"
        source = f"documented: {rule.source}" if rule.documented else rule.source
        yield f"  {rule.id:<4}{rule.severity}  {rule.text}{note} [{source}]"
        yield f"         {checked.where(broken)}: {broken.message}"
