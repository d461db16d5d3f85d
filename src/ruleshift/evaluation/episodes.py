"""Whole conversations on disk: episodes.parquet."""

import io
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of, write_atomically
from ruleshift.pictures import png, read_picture
from ruleshift.records import Completion, Episode, Message, Picture, Turn, Verdict

# What a file of other columns, or with other bytes in it, leads to.
DAMAGE = (OSError, pa.ArrowException, ValueError, LookupError, TypeError, AttributeError, OverflowError, MemoryError)


def save_episodes(path: Path, episodes: Sequence[Episode]) -> None:
    """One row per episode: problem id, turns with token ids, log-probs and verdicts, and the messages with their
    pictures as PNG files."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([_row(episode) for episode in episodes]), buffer, write_page_checksum=True)
    write_atomically(path, buffer.getvalue())


def load_episodes(path: Path) -> list[Episode]:
    """Read back episodes. Raises RuleshiftError for a missing or damaged file."""
    try:
        return [_episode(row) for row in pq.read_table(path, page_checksum_verification=True).to_pylist()]
    except FileNotFoundError as error:
        raise RuleshiftError(f"{path} is missing: run the command that writes it again") from error
    except DAMAGE as error:
        raise RuleshiftError(
            f"cannot read {path} ({reason_of(error)}): delete it and run the command that wrote it again"
        ) from error


def _row(episode: Episode) -> dict[str, Any]:
    """Plain fields. The pictures of a verdict are those of the message with its feedback, and stand there alone."""
    fields = asdict(replace(episode, messages=(), turns=tuple(_without_pictures(turn) for turn in episode.turns)))
    fields["messages"] = [
        {"role": m.role, "content": m.content, "pictures": [png(picture) for picture in m.pictures]}
        for m in episode.messages
    ]
    return fields


def _without_pictures(turn: Turn) -> Turn:
    return replace(turn, verdict=replace(turn.verdict, pictures=()))


def _episode(row: dict[str, Any]) -> Episode:
    messages = tuple(
        Message(m["role"], m["content"], tuple(read_picture(data) for data in m["pictures"])) for m in row["messages"]
    )
    feedback = messages[len(messages) - 2 * len(row["turns"]) + 1 :: 2]
    turns = tuple(_turn(turn, message.pictures) for turn, message in zip(row["turns"], feedback, strict=True))
    return Episode(row["problem_id"], turns, messages)


def _turn(fields: dict[str, Any], pictures: tuple[Picture, ...]) -> Turn:
    completion = fields["completion"]
    return Turn(
        tuple(fields["appended_ids"]),
        Completion(
            completion["text"],
            tuple(completion["token_ids"]),
            tuple(completion["logprobs"]),
            completion["stop_reason"],
        ),
        Verdict(**{**fields["verdict"], "pictures": pictures}),
    )
