"""File systems of a test's own: a small one that fills up, one that nobody may write to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

__all__ = ["in_tmpfs"]

_NAMESPACE = ("unshare", "--mount", "--map-root-user")


def in_tmpfs(
    folder: Path, options: str, *command: str | Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command while a tmpfs with these mount options is at `folder`; its files are copied to `folder`.kept.

    It is mounted in a namespace of its own.  Where the system gives none the test is skipped, in CI it fails.
    """
    kept = folder.with_name(folder.name + ".kept")
    folder.mkdir()
    kept.mkdir()
    try:
        subprocess.run([*_NAMESPACE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        told = f"this system gives no mount namespace: {error}"
        if "CI" in os.environ:
            pytest.fail(told)
        pytest.skip(told)
    script = 'mount -t tmpfs -o "$1" none "$2" && { d=$2; k=$3; shift 3; "$@"; r=$?; cp -r "$d/." "$k"; exit $r; }'
    return subprocess.run(
        [*_NAMESPACE, "sh", "-c", script, "sh", options, folder, kept, *command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (environment or {}),
    )
