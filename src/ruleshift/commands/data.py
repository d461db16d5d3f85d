"""`ruleshift data`: expert conversations as a file."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from ruleshift.commands.checks import at_least, check_file, check_split

if TYPE_CHECKING:
    from ruleshift.tasks.protocol import Style, Task, TaskProblem

Format = Literal["jsonl", "parquet"]


@dataclass(frozen=True)
class Data:
    """Write problems with an expert's reply to a file: the data of `ruleshift sft`, for any other trainer.
    Columns: `messages` (role and content, as TRL and most trainers take them), `id`, `split`, and `facts`
    (what was dealt, which rule, every solution) as JSON text.

    `ruleshift data check-virl DIR` looks instead at a download of the paper's V-IRL data.

    Example: ruleshift data gp-l --split train --n 5000 --out train.parquet
    """

    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TASK")]
    """Task id: gp-l or virl-l."""
    out: Path
    """File to write."""
    format: Format | None = None
    """File format; by default parquet for a name that ends so, and jsonl for any other."""
    split: str = "train"
    """Split that the problems come from."""
    routes: Path | None = None
    """virl-l only: walk routes of your own, the paper's data (a folder, .json) or a map (.osm.pbf, .osm, .graphml)."""
    n: int = 1000
    """How many."""
    seed: int = 0
    """Seed of the deals."""
    style: Literal["full", "terse", "varied"] = "full"
    """Wording of the prompts."""

    stopped: ClassVar[str] = "nothing was written; run the same command again"

    def run(self) -> None:
        from ruleshift.commands.bars import Bar
        from ruleshift.commands.opening import open_task
        from ruleshift.files import write_atomically

        at_least("--n", self.n, 1)
        task = open_task(self.task, self.routes)
        check_split(task, self.split)
        check_file("--out", self.out)
        form = self.format or ("parquet" if self.out.suffix == ".parquet" else "jsonl")
        rows = []
        with Bar("data", self.n) as bar:
            for row in data_rows(task, self.split, self.seed, self.n, self.style):
                rows.append(row)
                bar.advance()
        write_atomically(self.out, _as_parquet(rows) if form == "parquet" else _as_jsonl(rows))
        print(f"{self.n} conversations: {self.out}")


def data_rows(task: "Task", split: str, seed: int, n: int, style: "Style") -> Iterator[dict[str, object]]:
    """The problems 0..n-1 of (split, seed), each with its gold reply."""
    for index in range(n):
        yield _row(task.problem(split, seed, index, style), split)


def _row(problem: "TaskProblem", split: str) -> dict[str, object]:
    from ruleshift.engines.text import expert_messages

    facts = json.dumps(dict(problem.describe()))
    messages = [{"role": message.role, "content": message.content} for message in expert_messages(problem)]
    return {"id": problem.id, "split": split, "messages": messages, "facts": facts}


def _as_jsonl(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _as_parquet(rows: list[dict[str, object]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()
