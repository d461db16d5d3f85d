"""Whole conversations on disk: episodes.parquet."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ruleshift.errors import RuleshiftError
from ruleshift.files import write_atomically
from ruleshift.records import Completion, Episode, Message, Turn, Verdict


def save_episodes(path: Path, episodes: Sequence[Episode]) -> None:
    """One row per episode: problem id, turns with token ids, log-probs and verdicts, and the messages."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([asdict(episode) for episode in episodes]), buffer)
    write_atomically(path, buffer.getvalue())


def load_episodes(path: Path) -> list[Episode]:
    """Read back episodes. Raises RuleshiftError for a missing or damaged file."""
    try:
        rows = pq.read_table(path).to_pylist()
        return [
            Episode(
                row["problem_id"],
                tuple(_turn(turn) for turn in row["turns"]),
                tuple(Message(**message) for message in row["messages"]),
            )
            for row in rows
        ]
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise RuleshiftError(f"cannot read {path} ({error}); delete it and run the command again") from error


def _turn(fields: dict) -> Turn:
    completion = fields["completion"]
    return Turn(
        tuple(fields["appended_ids"]),
        Completion(
            completion["text"],
            tuple(completion["token_ids"]),
            tuple(completion["logprobs"]),
            completion["stop_reason"],
        ),
        Verdict(**fields["verdict"]),
    )
