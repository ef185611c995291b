"""Another interface: IMAPIProgress, and a host of it that forgets that a total of 0 means "not known".

The shortest sequence that shows the bug:

    Progress(0, 0, 0)
"""

from __future__ import annotations

from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN


def u32(name: str, *, pointer: bool = False, out: bool = False) -> Parameter:
    return Parameter(name, Type.U32, pointer=pointer, direction=Direction.OUT if out else Direction.IN)


IMAPI_PROGRESS = Interface(
    "IMAPIProgress",
    "{0002031F-0000-0000-C000-000000000046}",
    (
        Method("Progress", (u32("ulValue"), u32("ulCount"), u32("ulTotal"))),
        *(Method(f"Get{name}", (u32(f"lpul{name}", out=True),)) for name in ("Flags", "Max", "Min")),
        Method("SetLimits", tuple(u32(name, pointer=True) for name in ("lpulMin", "lpulMax", "lpulFlags"))),
    ),
    base=IUNKNOWN,
)


class Host:
    def __init__(self) -> None:
        self.limits = [1, 1000, 1]
        self.shown = 0.0

    def Progress(self, value: int, count: int, total: int) -> int:
        self.shown = count / total
        return 0

    def GetFlags(self) -> tuple[int, int]:
        return 0, self.limits[2]

    def GetMax(self) -> tuple[int, int]:
        return 0, self.limits[1]

    def GetMin(self) -> tuple[int, int]:
        return 0, self.limits[0]

    def SetLimits(self, least: int | None, most: int | None, flags: int | None) -> int:
        given = (least, most, flags)
        self.limits = [old if new is None else new for old, new in zip(self.limits, given, strict=True)]
        return 0
