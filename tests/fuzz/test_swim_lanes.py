"""Swim lanes: a lane for each thread, the calls in order, the failing one marked."""

from __future__ import annotations

from fuzz.markup import Element
from fuzz.swim_lanes import LaneCall, swim_lanes


def call(number: int, thread: int = 0, **values: object) -> LaneCall:
    given = {
        "method": "Progress",
        "answer": "S_OK",
        "kind": "good",
        "failing": False,
        "tip": "tip",
        "row": f"r{number}",
    }
    return LaneCall(number, thread, **{**given, **values})  # type: ignore[arg-type]


def calls(svg: Element) -> list[Element]:
    return [group for group in svg.iter("g") if "call" in (group.get("class") or "").split()]


def box(group: Element) -> dict[str, float]:
    rect = group.find("rect")
    assert rect is not None
    return {name: float(rect.get(name, 0)) for name in ("x", "y", "width", "height")}


def test_calls_stand_in_their_thread_s_lane_in_order() -> None:
    svg = swim_lanes([call(0), call(1, 3), call(2)], ["main", "", "", "worker"])
    first, second, third = map(box, calls(svg))
    assert first["y"] == third["y"] < second["y"]
    assert first["x"] + first["width"] < second["x"] and second["x"] + second["width"] < third["x"]
    lanes = [
        text.text for group in svg.findall("g") if group.get("class") == "lane" for text in group.iter("text")
    ]
    assert lanes == ["main", "worker"]


def test_a_call_tells_what_it_is_without_colour() -> None:
    failing = call(
        1, method="Done", answer="raised", kind="bad", failing=True, tip="Done(NULL)\n→ raised", row="row-1"
    )
    (group,) = calls(swim_lanes([failing], []))
    assert group.get("class") == "call bad failing"
    assert group.get("aria-label") == "call 1, Done, raised, the failing one"
    assert (group.get("tabindex"), group.get("role"), group.get("data-row")) == ("0", "button", "row-1")
    assert group.get("data-tip") == "Done(NULL)\n→ raised"
    assert [text.text for text in group.findall("text")] == ["✗ Done", "raised"]


def test_long_names_are_cut_and_fit_their_boxes() -> None:
    long = call(0, method="QuiteALongNameForAMethodOfAnyInterface", answer="RPC_E_CANTCALLOUT_ININPUTSYNCCALL")
    (group,) = calls(swim_lanes([long], []))
    shown = [text.text or "" for text in group.findall("text")]
    assert all(len(text) <= 24 and text.endswith("…") for text in shown)
    assert box(group)["width"] > 24 * 7
