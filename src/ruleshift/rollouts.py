"""Episodes that are kept to be looked at: what was said, token by token, and what was made of it.

    RUN/episodes/point-000006.parquet    every episode of an evaluation, by split and decoding
    RUN/episodes/update-000006.parquet   a sample of the episodes of an update

A file is written whole, one for each evaluation and each update. Its first columns (`SUMMARY`) say how an episode went;
read alone they are the index in which one problem is found again over arms, seeds and steps.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of, writable, write_atomically
from ruleshift.pictures import png
from ruleshift.records import Episode, Turn

FOLDER = "episodes"
NAME = re.compile(r"(point|update)-(\d{6,})\.parquet")
ROWS = 32  # of a row group, which is read for one of them
BYTES = 14  # of a token that is kept, compressed; measured
DAMAGE = (OSError, pa.ArrowException, ValueError, LookupError, TypeError, AttributeError, OverflowError, MemoryError)
_FLOATS = pa.list_(pa.float32())
SUMMARY = pa.schema(
    {
        "problem": pa.string(),
        "split": pa.string(),
        "decoding": pa.string(),
        "sample": pa.int32(),
        "why": pa.string(),
        "solved_at": pa.int32(),
        "reward": pa.float32(),
        "tokens": pa.list_(pa.int32()),
        "logprob": pa.float32(),
        "change": pa.float32(),
        "outcome": pa.string(),
        "cut": pa.bool_(),
        "trained_words": pa.bool_(),
    }
)
TURN = pa.struct(
    {
        "text": pa.string(),
        "pieces": pa.list_(pa.string()),
        "ids": pa.list_(pa.int32()),
        "logprobs": _FLOATS,
        "start": _FLOATS,
        "after": _FLOATS,
        "entropy": _FLOATS,
        "stop": pa.string(),
        "outcome": pa.string(),
        "reward": pa.float32(),
        "right": pa.bool_(),
        "valid": pa.bool_(),
        "words": pa.string(),
        "found": pa.string(),
        "value": pa.float32(),
        "advantage": pa.float32(),
    }
)
MESSAGE = pa.struct({"role": pa.string(), "content": pa.string(), "pictures": pa.list_(pa.binary())})
SCHEMA = pa.schema([*SUMMARY, pa.field("messages", pa.list_(MESSAGE)), pa.field("turns", pa.list_(TURN))])


@dataclass(frozen=True)
class KeptTurn:
    """A reply and what is known of it. Of each token: its text, its id, its log-probability when it was drawn, by the
    start model, and after the update that learned from it, and the entropy of where it was drawn; each is empty where
    nobody read it. Value and advantage are those of the update."""

    text: str
    pieces: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    start: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    entropy: tuple[float, ...] = ()
    stop: str = "stop"
    outcome: str = ""
    reward: float = 0.0
    right: bool = False
    valid: bool = True
    words: str | None = None
    found: str | None = None
    value: float | None = None
    advantage: float | None = None

    @classmethod
    def of(cls, turn: Turn, **known: Any) -> "KeptTurn":
        said, verdict = turn.completion, turn.verdict
        return cls(
            said.text,
            ids=said.token_ids,
            logprobs=said.logprobs,
            stop=said.stop_reason,
            outcome=verdict.outcome,
            reward=verdict.reward,
            right=verdict.right,
            valid=verdict.valid,
            words=verdict.words,
            found=verdict.found,
            **known,
        )


@dataclass(frozen=True)
class KeptEpisode:
    """An episode that is kept. `decoding` is "training" where it was learned from, and `why` says why it was chosen;
    `messages` are (role, text, pictures as PNG files)."""

    problem: str
    split: str
    decoding: str
    messages: tuple[tuple[str, str, tuple[bytes, ...]], ...]
    turns: tuple[KeptTurn, ...]
    sample: int = 0
    why: str = ""
    solved: bool = False

    @classmethod
    def of(
        cls, episode: Episode, split: str, decoding: str, turns: Sequence[KeptTurn] = (), **known: Any
    ) -> "KeptEpisode":
        """An episode with what else is known of its turns."""
        messages = tuple((m.role, m.content, tuple(map(png, m.pictures))) for m in episode.messages)
        plain = tuple(turns) or tuple(map(KeptTurn.of, episode.turns))
        return cls(episode.problem_id, split, decoding, messages, plain, solved=episode.solved, **known)

    def summary(self) -> dict[str, Any]:
        """The columns of the index. `solved_at` is the number of the reply that solved it, 0 where none did; `change`
        is the mean log-probability of its tokens less that under the start model."""
        drawn = [p for turn in self.turns for p in turn.logprobs]
        before = [p for turn in self.turns for p in turn.start]
        last = self.turns[-1] if self.turns else KeptTurn("")
        return {
            "problem": self.problem,
            "split": self.split,
            "decoding": self.decoding,
            "sample": self.sample,
            "why": self.why,
            "solved_at": len(self.turns) if self.solved else 0,
            "reward": sum(turn.reward for turn in self.turns),
            "tokens": [len(turn.ids) for turn in self.turns],
            "logprob": fmean(drawn) if drawn else None,
            "change": fmean(drawn) - fmean(before) if len(before) == len(drawn) > 0 else None,
            "outcome": last.outcome,
            "cut": any(turn.stop == "length" for turn in self.turns),
            "trained_words": any(turn.words == "trained" for turn in self.turns),
        }


def point_file(run: Path, step: int) -> Path:
    """Where the episodes of an evaluation are kept."""
    return run / FOLDER / f"point-{step:06d}.parquet"


def update_file(run: Path, update: int) -> Path:
    """Where a sample of the episodes of an update is kept."""
    return run / FOLDER / f"update-{update:06d}.parquet"


def files_in(run: Path) -> list[tuple[str, int, Path]]:
    """The files of a run: of a `point` or an `update`, the step, and the path; in order."""
    found = [(NAME.fullmatch(path.name), path) for path in (run / FOLDER).glob("*.parquet")]
    return sorted((match[1], int(match[2]), path) for match, path in found if match)


def save(path: Path, episodes: Sequence[KeptEpisode]) -> None:
    """Write a file of episodes, whole or not at all. Raises RuleshiftError where the disk refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            **_real(episode.summary()),
            "messages": [
                {"role": role, "content": _real(text), "pictures": seen} for role, text, seen in episode.messages
            ],
            "turns": [_real(asdict(turn)) for turn in episode.turns],
        }
        for episode in episodes
    ]
    buffer = io.BytesIO()
    table = pa.Table.from_pylist(rows, SCHEMA)
    pq.write_table(table, buffer, row_group_size=ROWS, compression="zstd", write_page_checksum=True)
    write_atomically(path, buffer.getvalue())


def summaries(path: Path) -> pa.Table:
    """The index of a file. Raises RuleshiftError for one that is missing or damaged."""
    try:
        return pq.read_table(path, columns=SUMMARY.names).cast(SUMMARY)
    except DAMAGE as error:
        raise _unreadable(path, error) from error


def load(path: Path, row: int) -> KeptEpisode:
    """One episode of a file. Raises RuleshiftError for a file that is missing, damaged, or has no such row."""
    return load_all(path, range(row, row + 1))[0]


def load_all(path: Path, rows: Sequence[int]) -> list[KeptEpisode]:
    """Some episodes of a file, in the order of their rows; of its row groups only those that hold them are read."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found: dict[int, KeptEpisode] = {}
            first = 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                wanted = [row for row in rows if first <= row < first + count]
                if wanted:
                    table = file.read_row_group(group).cast(SCHEMA)
                    found |= {row: _episode(table.slice(row - first, 1).to_pylist()[0]) for row in wanted}
                first += count
        return [found[row] for row in rows]
    except DAMAGE as error:
        raise _unreadable(path, error) from error


def rows_with(path: Path, text: str) -> set[int]:
    """The rows of a file in which a text stands, in whatever case; none of a file that cannot be read."""
    try:
        messages = pq.read_table(path, columns=["messages"])["messages"].combine_chunks()
        rows = pc.list_parent_indices(messages)
        said = pc.struct_field(pc.list_flatten(messages), "content")
        return set(rows.filter(pc.match_substring(said, text, ignore_case=True)).to_pylist())
    except DAMAGE:
        return set()


def bytes_for(episodes: int, replies: int, tokens: int) -> int:
    """How much room that many episodes take at most, of so many replies of so many tokens."""
    return episodes * (400 + replies * (60 + tokens * BYTES))


def _real(value: Any) -> Any:
    """Texts as they can be written."""
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, dict):
        return {name: _real(part) for name, part in value.items()}
    return (
        [_real(part) for part in value] if isinstance(value, tuple) and value and isinstance(value[0], str) else value
    )


def _with_tuples(turn: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in turn.items()}


def _episode(row: dict[str, Any]) -> KeptEpisode:
    turns = tuple(KeptTurn(**_with_tuples(turn)) for turn in row["turns"])
    messages = tuple((m["role"], m["content"], tuple(m["pictures"])) for m in row["messages"])
    known = (row["sample"], row["why"], row["solved_at"] > 0)
    return KeptEpisode(row["problem"], row["split"], row["decoding"], messages, turns, *known)


def _unreadable(path: Path, error: BaseException) -> RuleshiftError:
    return RuleshiftError(
        f"cannot read the kept episodes in {path} ({reason_of(error)}): delete that file; the page does without it"
    )


class Pieces:
    """The text of single tokens, as they read after another one. Of a character that several tokens make each shows
    U+FFFD."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._known: dict[int, str] = {}

    def of(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        for token in token_ids:
            if token not in self._known:
                pair = self._decode((token_ids[0], token))
                self._known[token] = pair.removeprefix(self._decode((token_ids[0],)))
        return tuple(self._known[token] for token in token_ids)
