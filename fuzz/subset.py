"""The smallest subset of sets that has all their members: set cover by greed, of equals the cheaper one.

What greed chose is then looked through once more, the dearest first, for what the rest makes needless.  The very
smallest takes time exponential in the number of sets to find; greed misses it by a factor of ln(n) at worst.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["smallest_subset"]

_Name = TypeVar("_Name", bound=Hashable)


def smallest_subset(
    sets: Mapping[_Name, Collection[Any]], cost: Mapping[_Name, Sequence[Any]], kept: Collection[_Name] = ()
) -> list[_Name]:
    """Names of sets that together have what all have, `kept` among them, in the order of `sets`.

    `cost` is what is compared where two bring as much; equal costs go by the order of `sets`.
    """
    kept = frozenset(kept)
    sets = {name: frozenset(members) for name, members in sets.items()}
    place = {name: number for number, name in enumerate(sets)}
    missing = set[Any]().union(*sets.values())
    chosen = [name for name in sets if name in kept]
    for name in chosen:
        missing.difference_update(sets[name])
    heap = [(-len(members), cost[name], place[name], name) for name, members in sets.items() if name not in kept]
    heapq.heapify(heap)
    while missing:
        gain, price, at, name = heapq.heappop(heap)
        brings = len(missing.intersection(sets[name]))
        if brings == -gain:  # nothing can bring more: what each brings only falls
            chosen.append(name)
            missing.difference_update(sets[name])
        elif brings:
            heapq.heappush(heap, (-brings, price, at, name))
    held = Counter(member for name in chosen for member in sets[name])
    for name in sorted(chosen, key=lambda name: (cost[name], place[name]), reverse=True):
        if name not in kept and all(held[member] > 1 for member in sets[name]):
            chosen.remove(name)
            held.subtract(sets[name])
    return sorted(chosen, key=place.__getitem__)
