"""Where a trace comes from, as its header says it: kinds of provenance as data, made, checked and put in words.

    captured    a recording of a real run: of which `provider`, in which `scenario`, by which `recorder`
    imported    the capture of another tool: from which `source`
    mutated     made by a campaign from `parents`, by `mutators`, of a `seed`'s `batch` the sequence `number`
    generated   made by a campaign from the contract alone: `seed`, `batch`, `number`
    finding     kept for a failure: in which `origin` it was met, and the `finding` itself
    merged      one of several with the same calls: its `sources`, and what kind it `was` before

Other facts may stand beside these.  A parent or source is named by its name and by the digest of its calls, which
does not depend on its times, its header or the names of its files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from recorder.calls import Call, Trace
from recorder.interface import Interface

__all__ = [
    "KINDS",
    "Origin",
    "captured",
    "digest",
    "finding",
    "generated",
    "imported",
    "merged",
    "mutated",
    "origin_of",
    "origins",
    "problems",
    "told",
]

_DIGEST = 16  # hexadecimal digits


class Origin(NamedTuple):
    """Another trace: what it was called, and the digest of its calls ("" if nobody knows)."""

    name: str
    digest: str = ""


class Kind(NamedTuple):
    """Facts that a kind of provenance has: `needed` all, `either` at least one, `known` if they are there."""

    needed: Mapping[str, type]
    either: tuple[str, ...]
    known: Mapping[str, type]


_PLACE = {"seed": int, "batch": int, "number": int}

KINDS: Mapping[str, Kind] = {
    "captured": Kind(
        {}, ("provider", "scenario", "recorder"), {"provider": str, "scenario": str, "recorder": str}
    ),
    "imported": Kind({"source": str}, (), {"provider": str, "scenario": str}),
    "mutated": Kind({"parents": list, "mutators": list}, (), _PLACE),
    "generated": Kind({}, (), _PLACE),
    "finding": Kind({"origin": str, "finding": dict}, (), {"parents": list, "minimised": bool}),
    "merged": Kind({"sources": list, "was": str}, (), {}),
}


# --- making ---------------------------------------------------------------------------------------------------


def captured(**facts: Any) -> dict[str, Any]:
    """A recording of a real run; `facts` name its provider, scenario or recorder."""
    return {"kind": "captured", **facts}


def imported(source: str, **facts: Any) -> dict[str, Any]:
    """The capture of another tool, from a file called `source`."""
    return {"kind": "imported", "source": source, **facts}


def mutated(
    parents: Iterable[Origin],
    mutators: Iterable[str],
    *,
    seed: int | None = None,
    batch: int | None = None,
    number: int | None = None,
) -> dict[str, Any]:
    """Made from other traces by mutators, in this order; `seed`, `batch`, `number`: of a campaign."""
    made = {"kind": "mutated", "parents": _spelled(parents), "mutators": list(mutators)}
    return made | _place(seed, batch, number)


def generated(*, seed: int | None = None, batch: int | None = None, number: int | None = None) -> dict[str, Any]:
    """Made from the contract alone."""
    return {"kind": "generated"} | _place(seed, batch, number)


def finding(origin: str, facts: Mapping[str, Any], *, minimised: bool) -> dict[str, Any]:
    """Kept for a failure: `facts` are its code, oracle, method and so on, `origin` says in what it was met."""
    return {"kind": "finding", "origin": origin, "minimised": minimised, "finding": dict(facts)}


def merged(sources: Iterable[Origin], was: Mapping[str, Any]) -> dict[str, Any]:
    """One trace that stands for several with the same calls; what it `was` stays beside that."""
    kind = was.get("was", "") if was.get("kind") == "merged" else was.get("kind", "")
    earlier = [origin for origin in origins(was) if was.get("kind") == "merged"]
    return {**was, "kind": "merged", "sources": _spelled(dict.fromkeys([*earlier, *sources])), "was": str(kind)}


def _spelled(origins: Iterable[Origin]) -> list[dict[str, str]]:
    return [{"name": origin.name, "digest": origin.digest} for origin in origins]


def _place(seed: int | None, batch: int | None, number: int | None) -> dict[str, int]:
    place = {"seed": seed, "batch": batch, "number": number}
    return {name: value for name, value in place.items() if value is not None}


# --- identity -------------------------------------------------------------------------------------------------


def digest(calls: Iterable[Call], interface: Interface) -> str:
    """What tells sequences of calls apart: 16 hexadecimal digits (docs/trace-format.md, Provenance)."""
    import hashlib
    import json

    sha = hashlib.sha256(f"{interface.iid}\n".encode())
    for call in calls:
        switches = [call.switches] if call.switches else []
        line = json.dumps([call.thread, call.method, call.args, *switches], default=_bytes, separators=(",", ":"))
        sha.update(f"{line}\n".encode())
    return sha.hexdigest()[:_DIGEST]


def _bytes(value: Any) -> Any:
    return {"bytes": value.hex()}


def origin_of(name: str, trace: Trace) -> Origin:
    """A trace as a parent or a source."""
    return Origin(name, digest(trace.calls, trace.interface))


def origins(provenance: Mapping[str, Any]) -> list[Origin]:
    """The traces that a provenance names, as far as they read."""
    return [
        Origin(str(entry["name"]), str(entry.get("digest", "")))
        for field in ("parents", "sources")
        if isinstance(entries := provenance.get(field), list | tuple)
        for entry in entries
        if isinstance(entry, Mapping) and "name" in entry
    ]


# --- checking and telling -------------------------------------------------------------------------------------


def problems(provenance: Mapping[str, Any]) -> list[str]:
    """What is wrong with it, one line each; nothing if it says where its trace comes from."""
    if not provenance:
        return ["is missing"]
    name = provenance.get("kind")
    if name is None:
        return ["has no kind"]
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        return [f"is of an unknown kind, {name!r:.40}; there are {', '.join(KINDS)}"]
    wrong = [f"({name}) has no {field}" for field in kind.needed if field not in provenance]
    if kind.either and not any(field in provenance for field in kind.either):
        wrong.append(f"({name}) has none of {', '.join(kind.either)}")
    for field, expected in {**kind.needed, **kind.known}.items():
        if field in provenance and type(provenance[field]) is not expected:
            wrong.append(f"({name}) has a {field} that is no {_WORDS[expected]}")
    for field in ("parents", "sources"):
        entries = provenance.get(field, [])
        if isinstance(entries, list) and not all(map(_is_origin, entries)):
            wrong.append(f"({name}) has {field} without a name and a digest")
    if name == "merged" and isinstance(was := provenance.get("was"), str) and was:
        wrong += problems({**provenance, "kind": was}) if was != "merged" else ["(merged) was merged"]
    return wrong


_WORDS = {str: "text", int: "integer", list: "list", dict: "map", bool: "true or false"}


def _is_origin(entry: object) -> bool:
    return (
        isinstance(entry, Mapping)
        and isinstance(entry.get("name"), str)
        and isinstance(code := entry.get("digest"), str)
        and len(code) in (0, _DIGEST)
        and not set(code) - set("0123456789abcdef")
    )


def told(provenance: Mapping[str, Any]) -> str | None:
    """One of a campaign's kinds, or a merged one, in words; None for what is best shown fact by fact."""
    if problems(provenance):
        return None
    name = provenance["kind"]
    if name == "generated":
        return f"generated{_place_told(provenance)}"
    if name == "mutated":
        parents = _named(origins(provenance)) or "a sequence that is not named"
        mutators = ", ".join(map(str, provenance["mutators"])) or "no mutator"
        return f"mutated from {parents} by {mutators}{_place_told(provenance)}"
    if name == "merged":
        rest = {key: value for key, value in provenance.items() if key not in ("kind", "sources", "was")}
        was = provenance["was"]
        before = told({**rest, "kind": was}) or ", ".join([was, *(f"{k} {v}" for k, v in rest.items())])
        return f"merged from {_named(origins(provenance))}; {before or 'of unknown provenance'}"
    return None


def _named(origins: Iterable[Origin]) -> str:
    return ", ".join(f"{o.name} ({o.digest})" if o.digest else o.name for o in origins)


def _place_told(provenance: Mapping[str, Any]) -> str:
    parts = [f"{name} {provenance[name]}" for name in ("seed", "batch", "number") if name in provenance]
    return f"; {', '.join(parts)}" if parts else ""
