"""`ruleshift data`: expert conversations as a file."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from ruleshift.bounds import at_least
from ruleshift.commands.checks import check_file
from ruleshift.commands.opening import OnTask, Options
from ruleshift.errors import RuleshiftError
from ruleshift.tasks.protocol import Style, check_split

if TYPE_CHECKING:
    import pyarrow as pa

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

    `--for` writes the columns of another tool (see docs/integrations.md): trl (prompt, completion, where the problem is
    found; for SFT, GRPO and RLOO), verl, verifiers, openai (messages, pictures in them, for fine-tuning services).

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
    tool: Annotated[Literal["trl", "verl", "verifiers", "openai"] | None, tyro.conf.arg(name="for")] = None
    """Tool whose columns to write."""
    turns: int = 0
    """With --for: verification budget that the tool is told; 0 is the task's own."""

    stopped: ClassVar[str] = "the file was not written; run the same command again"

    def run(self) -> None:
        from ruleshift.commands.bars import Bar
        from ruleshift.commands.datafiles import pictures_beside, write_jsonl, write_parquet
        from ruleshift.tasks.protocol import how_many

        at_least("--n", self.n, 1)
        at_least("--seed", self.seed, 0)
        at_least("--turns", self.turns, 0)
        task = self.open()
        check_split(task, self.split)
        check_file("--out", self.out)
        form = self._format(task)
        count = how_many(task, self.split, self.n)
        rows, schema = self._contents(task, count)
        with Bar("data", count) as bar:

            def counted() -> Iterator[dict[str, object]]:
                for row in rows:
                    yield row
                    bar.advance()

            if form == "parquet":
                write_parquet(self.out, counted(), schema)
            else:
                write_jsonl(self.out, counted(), task.pictures and self.tool is None)
        ended = f", all that {self.split} has" if count < self.n else ""
        print(f"{count} conversations{ended}: {self.out}")
        if task.pictures and form == "jsonl" and self.tool is None:
            print(f"pictures: {pictures_beside(self.out)}")

    def _format(self, task: "Task") -> str:
        """The format of the file. Raises RuleshiftError for one that the tool does not read."""
        named = self.format or ("parquet" if self.out.suffix == ".parquet" else "jsonl")
        if self.tool is None:
            return named
        from ruleshift.integrations.exports import EXPORTS

        read = EXPORTS[self.tool].format
        if named != read and (task.pictures or read == "jsonl"):
            raise RuleshiftError(f"--for {self.tool} is a {read} file here: name it --out {self.out.stem}.{read}")
        return named

    def _contents(self, task: "Task", count: int) -> "tuple[Iterable[dict[str, object]], pa.Schema | None]":
        """The rows, and for a table with pictures its columns."""
        from ruleshift.commands.datafiles import pictured_schema

        if self.tool is None:
            rows = data_rows(task, self.split, self.seed, count, self.style)
            return rows, pictured_schema() if task.pictures else None
        from ruleshift.integrations.exports import EXPORTS
        from ruleshift.integrations.places import ProblemRef, options_text

        export, options = EXPORTS[self.tool], options_text(self.options_given())
        place = ProblemRef(self.task, self.split, self.seed, 0, self.style, self.turns, options)
        columns = export.features if task.pictures else None
        return export.rows(place, count), None if columns is None else columns(place).arrow_schema


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
