"""Traces that ship with synctape; README.md tells where each comes from."""

from pathlib import Path

__all__ = ["folder"]


def folder(interface: str = "IMAPISyncProgressCallback") -> Path:
    """Where the traces of an interface lie; the folder need not exist."""
    return Path(__file__).parent / interface.lower()
