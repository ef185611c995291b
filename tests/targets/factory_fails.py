"""The bug: the factory raises, so there is no host to call."""

from __future__ import annotations


class Host:
    def __init__(self) -> None:
        raise RuntimeError("this host cannot be made")
