"""What `ruleshift data TASK --for TOOL` writes: rows in the columns of another tool."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ruleshift.engines.text import expert_messages
from ruleshift.integrations import trl, verl
from ruleshift.integrations.places import ProblemRef, openai_messages

if TYPE_CHECKING:
    from datasets import Features

Rows = Callable[[ProblemRef, int], Iterator[dict[str, Any]]]


@dataclass(frozen=True)
class Export:
    """How a tool takes data: its rows, the file format that it reads, and with pictures the columns of its table (None:
    pictures stand in the messages, as data URLs)."""

    rows: Rows
    format: str
    features: "Callable[[ProblemRef], Features] | None" = None


def openai_rows(place: ProblemRef, n: int) -> Iterator[dict[str, Any]]:
    """Expert conversations as OpenAI-compatible services take them for supervised fine-tuning."""
    for index in range(place.count(n)):
        yield {"messages": openai_messages(expert_messages(place.at(index).problem()))}


def verifiers_rows(place: ProblemRef, n: int) -> Iterator[dict[str, Any]]:
    """Problems as `TaskData` of verifiers, for tasksets of one's own; ruleshift's reads them from the task itself."""
    for index in range(place.count(n)):
        here = place.at(index)
        problem = here.problem()
        prompt = openai_messages(list(problem.context()))
        yield {"id": problem.id, "name": problem.id, "prompt": prompt, "place": here.row()}


EXPORTS = {
    "trl": Export(trl.rows, "parquet", trl.features),
    "verl": Export(verl.rows, "parquet", verl.features),
    "verifiers": Export(verifiers_rows, "jsonl"),
    "openai": Export(openai_rows, "jsonl"),
}
