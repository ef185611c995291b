"""ELF files say what they need and want."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from replayer.elf import read_elf

linux = pytest.mark.skipif(sys.platform != "linux", reason="ELF is not this system's format")
PYTHON = Path(sys.executable).resolve()


@linux
def test_a_program_names_its_loader_and_what_it_needs() -> None:
    elf = read_elf(PYTHON)
    assert elf is not None
    assert elf.interpreter.startswith("/lib")
    assert any(name.startswith("libc.") for name in elf.needed)


@pytest.mark.native
@linux
def test_a_library_names_what_it_wants_to_be_given(tmp_path: Path) -> None:
    source, library = tmp_path / "a.c", tmp_path / "a.so"
    source.write_text("extern int given(int); int made(int n) { return given(n) + 1; }\n", encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    elf = read_elf(library)
    assert elf is not None
    assert "given" in elf.wanted
    assert "made" not in elf.wanted
    assert elf.interpreter == ""
    assert elf.compilers


@pytest.mark.parametrize("data", [b"", b"MZ", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(99), b"\x7fELF\x02\x01"])
def test_what_is_no_elf_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.so"
    path.write_bytes(data)
    assert read_elf(path) is None


def test_no_file(tmp_path: Path) -> None:
    assert read_elf(tmp_path / "a.so") is None


@pytest.mark.native
def test_damage_is_none_or_read(library: Callable[[str], Path], tmp_path: Path) -> None:
    whole, chance, path = library("good_host").read_bytes(), random.Random(7), tmp_path / "a.so"
    for _ in range(300):
        damaged = bytearray(whole[: chance.randrange(64, len(whole))] if chance.random() < 0.5 else whole)
        for _ in range(20):
            where = chance.randrange(6, 64) if chance.random() < 0.5 else chance.randrange(6, len(damaged))
            damaged[where] = chance.randrange(256)
        path.write_bytes(damaged)
        read_elf(path)
