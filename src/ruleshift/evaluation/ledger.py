"""What was asked of a server, beside the record: requests.jsonl, a line for each request and for each that failed.

The record holds replies alone. With these lines a budget also counts what failed, or was on its way, in earlier calls.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ruleshift.engines.spending import Event, Ledger
from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of

REQUESTS = "requests.jsonl"


@contextmanager
def open_ledger(folder: Path) -> Iterator[Ledger]:
    """The ledger in a folder whose lock is held: its events so far, and where further ones go. Raises RuleshiftError
    where it cannot be read or written. A line that a kill cut short counts as a request."""
    path = folder / REQUESTS
    try:
        before = path.read_bytes() if path.exists() else b""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise _refused(path, error) from error

    def keep(event: Event) -> None:
        try:
            os.write(descriptor, json.dumps(asdict(event)).encode("ascii") + b"\n")
        except OSError as error:
            raise _refused(path, error) from error

    try:
        if before and not before.endswith(b"\n"):
            os.write(descriptor, b"\n")
        yield Ledger([_event(line) for line in before.splitlines() if line], keep)
    finally:
        os.close(descriptor)


def _event(line: bytes) -> Event:
    """A line as an event; one that cannot be read as a request."""
    try:
        row = json.loads(line)
        event = Event(
            str(row["failed"]), int(row["prompt_tokens"]), int(row["reply_tokens"]), int(row["thought_tokens"])
        )
    except (ValueError, LookupError, TypeError, RecursionError):
        return Event()
    return event if min(event.prompt_tokens, event.reply_tokens, event.thought_tokens) >= 0 else Event()


def _refused(path: Path, error: OSError) -> RuleshiftError:
    return RuleshiftError(f"cannot use {path} ({reason_of(error)}): make room or make it writable, and go on")
