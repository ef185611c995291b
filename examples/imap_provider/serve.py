"""A real server to try the provider on: python -m examples.imap_provider.serve

It holds mail that is made up, prints the account to set in the environment, and serves until Ctrl-C or SIGTERM,
which end it at once, whatever it is doing.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading

from examples.imap_provider.dovecot import HOST, PASSWORD, USER, Dovecot
from examples.imap_provider.network import Relay
from examples.imap_provider.scenarios import MAIL


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A real IMAP server on 127.0.0.1, with mail that is made up.")
    parser.add_argument("--slow", type=int, metavar="BYTES", help="answer no faster than so many bytes a second")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with contextlib.ExitStack() as stack:
        try:
            port = stack.enter_context(Dovecot(MAIL)).port
        except OSError as error:
            parser.error(str(error))
        if options.slow:
            port = stack.enter_context(Relay(port, rate=options.slow)).port
        print(f"export IMAP_URL=imap://{USER}:{PASSWORD}@{HOST}:{port}", flush=True)
        while not ended.wait(0.5):
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
