"""Make a mail account out of a seed: nested folders with names as people and testers give them, and messages."""

from __future__ import annotations

import base64
import email.header
import os
import random
from pathlib import Path

from recorder.samples.mail_store import INBOX, FolderPath, MailStore

__all__ = ["FOLDERS", "MBOX_FOLDERS", "generate_account", "generate_message"]

FOLDERS: tuple[FolderPath, ...] = (
    INBOX,
    ("Empty",),
    ("Entwürfe",),
    ("Entwürfe", "2024"),
    ("Entwürfe", "2024", "Q1"),
    ("Отправленные",),
    ("受信箱",),
    ("受信箱", "重要"),
    ("דואר נכנס",),
    ("emoji 🚀🧪👩‍🚀",),
    ("Cafe\u0301",),
    ("Café",),
    ("z\u0335\u0321\u0352\u034ea\u0336\u0345lgo",),
    ("\"quotes\" and 'apostrophes'",),
    ("100% {0} %s",),
    ("[/]",),
    ("a\\b: <c> & | d?*",),
    ("trailing space ",),
    ("trailing dots..",),
    ("CON",),
)
"""Maildir folders of a generated account, in an order in which they can be made."""

MBOX_FOLDERS: tuple[FolderPath, ...] = (("Архив 2019",), ("Entwürfe", "Old %n"))
"""Folders that are mbox files."""

_PEOPLE = ("Ada Lovelace", "Jürgen Groß", "Ирина Петрова", "山田太郎", "O'Brien, Pat", "zoë")
_SUBJECTS = (
    "Minutes",
    "Grüße aus Köln",
    "Счёт на оплату",
    "会議の件",
    "🎉 100% off {0} %s",
    "Re: Re: AW: plan",
    "",
)
_LINES = (
    "Please find the figures attached.",
    "From here on it gets interesting.",
    "Schöne Grüße, и до встречи!",
    "よろしくお願いいたします。",
    ".",
    "",
)


def generate_account(
    path: str | os.PathLike[str],
    *,
    seed: int,
    messages: int,
    folders: tuple[FolderPath, ...] = FOLDERS,
    mbox_folders: tuple[FolderPath, ...] = MBOX_FOLDERS,
) -> MailStore:
    """Make an account at `path` with `messages` messages spread over its folders; one seed, one account.

    The folder named Empty stays so.
    """
    rng = random.Random(seed)
    store = MailStore(path)
    for folder in folders:
        store.create(folder)
    for folder in mbox_folders:
        store.create_mbox(folder)
    maildirs = [folder for folder in folders if folder != ("Empty",)]
    counts = dict.fromkeys((*maildirs, *mbox_folders), 0)
    for folder in rng.choices(list(counts), k=messages):
        counts[folder] += 1
    for folder, count in counts.items():
        contents = [generate_message(rng) for _ in range(count)]
        if folder in mbox_folders:
            _fill(store, folder, contents)
        else:
            _place(store.directory(folder), contents)
    return store


def generate_message(rng: random.Random) -> bytes:
    """One message with an 8-bit body; now and then a large one, now and then one without a body."""
    number = rng.getrandbits(48)
    head = [
        f"Message-ID: <{number:012x}@mail.example>",
        f"From: {_encoded(rng.choice(_PEOPLE))} <{number % 97}@mail.example>",
        f"Date: {rng.randint(1, 28)} Mar 2024 {rng.randint(10, 23)}:{rng.randint(10, 59)}:00 +0000",
        f"Subject: {_encoded(rng.choice(_SUBJECTS))}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    body = [rng.choice(_LINES) for _ in range(rng.choice((0, 1, 3, 8)))]
    if rng.random() < 0.1:
        body += base64.encodebytes(rng.randbytes(rng.randint(2000, 8000))).decode().splitlines()
    return "\n".join([*head, "", *body, ""]).encode()


def _encoded(text: str) -> str:
    return email.header.Header(text, "utf-8", maxlinelen=200).encode()


def _fill(store: MailStore, folder: FolderPath, contents: list[bytes]) -> None:
    with store.open(folder) as opened:
        for content in contents:
            opened.add(content)


def _place(maildir: Path, contents: list[bytes]) -> None:
    """Write the files under fixed names: those that `mailbox` gives hold the time, the process and the host."""
    for number, content in enumerate(contents):
        (maildir / "new" / f"{number:06}.synctape").write_bytes(content.replace(b"\n", os.linesep.encode()))
