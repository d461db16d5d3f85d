"""`ruleshift data`: expert conversations as a file."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ruleshift.bounds import at_least
from ruleshift.commands.checks import check_file, check_split
from ruleshift.commands.opening import OnTask, Options
from ruleshift.tasks.protocol import Style

if TYPE_CHECKING:
    from ruleshift.records import Message
    from ruleshift.tasks.protocol import Task, TaskProblem

Format = Literal["jsonl", "parquet"]


@dataclass(frozen=True)
class Data(OnTask[Options]):
    """Write problems with an expert's reply to a file: the data of `ruleshift sft`, for any other trainer.
    Columns: `messages` (role and content, as TRL and most trainers take them), `id`, `split`, and `facts`
    (what was dealt, which rule, every solution) as JSON text. Tasks in pictures have a column `images` besides, in
    the order in which the messages show them: in parquet the pictures themselves, in jsonl the names of PNG files,
    which go into a folder beside --out.

    `ruleshift data check-virl DIR` looks instead at a download of the paper's V-IRL data.

    Example: ruleshift data gp-l --split train --n 5000 --out train.parquet
    """

    out: Path
    """File to write."""
    format: Format | None = None
    """File format; by default parquet for a name that ends so, and jsonl for any other."""
    split: str = "train"
    """Split that the problems come from."""
    n: int = 1000
    """How many; fewer where the split has fewer."""
    seed: int = 0
    """Seed of the deals."""
    style: Style = "full"
    """Wording of the prompts."""

    stopped: ClassVar[str] = "the file was not written; run the same command again"

    def run(self) -> None:
        from ruleshift.commands.bars import Bar
        from ruleshift.commands.datafiles import pictures_beside, write_jsonl, write_parquet
        from ruleshift.tasks.protocol import how_many

        at_least("--n", self.n, 1)
        at_least("--seed", self.seed, 0)
        task = self.open()
        check_split(task, self.split)
        check_file("--out", self.out)
        form = self.format or ("parquet" if self.out.suffix == ".parquet" else "jsonl")
        count = how_many(task, self.split, self.n)
        with Bar("data", count) as bar:

            def rows() -> Iterator[dict[str, object]]:
                for row in data_rows(task, self.split, self.seed, count, self.style):
                    yield row
                    bar.advance()

            (write_parquet if form == "parquet" else write_jsonl)(self.out, rows(), task.pictures)
        ended = f", all that {self.split} has" if count < self.n else ""
        print(f"{count} conversations{ended}: {self.out}")
        if task.pictures and form == "jsonl":
            print(f"pictures: {pictures_beside(self.out)}")


def data_rows(task: "Task", split: str, seed: int, n: int, style: Style) -> Iterator[dict[str, object]]:
    """The problems 0..n-1 of (split, seed), each with its gold reply, and with `images` where the task shows any."""
    for index in range(n):
        yield _row(task.problem(split, seed, index, style), split, task.pictures)


def _row(problem: "TaskProblem", split: str, pictured: bool) -> dict[str, object]:
    from ruleshift.engines.text import expert_messages

    facts = json.dumps(dict(problem.describe()))
    messages = expert_messages(problem)
    contents = [_parts(message) if pictured else message.content for message in messages]
    told = [{"role": message.role, "content": content} for message, content in zip(messages, contents, strict=True)]
    row: dict[str, object] = {"id": problem.id, "split": split, "messages": told}
    if pictured:
        row["images"] = [picture for message in messages for picture in message.pictures]
    return {**row, "facts": facts}


def _parts(message: "Message") -> list[dict[str, str]]:
    """A message as TRL and the processors of vision-language models take it."""
    return [{"type": "image"} for _ in message.pictures] + [{"type": "text", "text": message.content}]
