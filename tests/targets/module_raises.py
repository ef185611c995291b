"""The bug: the module cannot be imported, so there is no host to call."""

from __future__ import annotations

raise RuntimeError("this module does not load")
