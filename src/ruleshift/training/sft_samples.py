"""What the start model says about the problems of a run of SFT, sampled before the training and kept beside it.

    RUN/samples/000256.jsonl       a line for each problem from that index on, as many as are sampled at once
    RUN/samples/pass-000256.json   how often each of them was solved without a mistake, where slices are taken by that

A file is there whole or not at all. Killed in between, a run samples on with the next file, and what it samples is the
same: the replies about a problem are a function of model, problem and seed. Several processes share the files out.
Memory holds one file's conversations while they are sampled, and later the place of each line.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ruleshift.backbones.vision import patches
from ruleshift.chat import Chat
from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of, write_atomically
from ruleshift.outcomes import counts_of, shares
from ruleshift.records import Episode
from ruleshift.revision import revise
from ruleshift.settings import SFTConfig
from ruleshift.tasks.protocol import Style, Task
from ruleshift.training.accounting import TokenCount
from ruleshift.training.processes import ALONE, Processes
from ruleshift.training.rollout import local_engine
from ruleshift.training.sft_data import Step, data_of

SAID, PASSED = "{:06d}.jsonl", "pass-{:06d}.json"  # names of files
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError)
Progress = Callable[[int, int], object]  # problems done, of how many


@dataclass(frozen=True)
class Said:
    """One conversation of the start model, step by step, and what it took: tokens read and written, and patches. How
    many of its replies were `judged` what (`outcomes.counts_of`) is not in files of earlier versions."""

    steps: tuple[Step, ...]
    tokens: int
    patches: int
    judged: Mapping[str, int]


@dataclass(frozen=True)
class Samples:
    """Sampled conversations by the index of their problem. `at` holds the place of each: file, first byte and bytes."""

    at: tuple[tuple[Path, int, int], ...]
    right: tuple[bool, ...]  # whether the verifier accepted any reply
    metrics: dict[str, float]
    taken: TokenCount  # what all of them took

    def __getitem__(self, index: int) -> Said:
        """Raises RuleshiftError for a file that was changed meanwhile."""
        path, first, size = self.at[index]
        try:
            with path.open("rb") as file:
                file.seek(first)
                return _said(file.read(size))
        except UNREADABLE as error:
            raise _damaged(path, error) from error


@dataclass(frozen=True)
class PassRates:
    """The share of conversations about each problem in which every first reply is right, by its index (of cards: of
    first replies; of walks: of whole routes without a mistake), what these took, and the tokens of all replies."""

    shares: tuple[float, ...]
    taken: TokenCount
    generated: int

    def within(self, low: float, high: float) -> list[int]:
        """The problems with a share from `low` to `high`."""
        return [index for index, share in enumerate(self.shares) if low <= share <= high]


def used(config: SFTConfig) -> int:
    """How many problems the start model is asked about: those that the training comes to, if each of them serves."""
    return min(config.examples, config.steps * config.batch)


def is_sliced(config: SFTConfig) -> bool:
    """Whether problems are chosen by how often the start model solves them."""
    return (config.pass_low, config.pass_high) != (0.0, 1.0)


def is_kept(config: SFTConfig, folder: Path) -> bool:
    """Whether nothing is missing in the folder of what `sample` and `pass_rates` would sample for these settings."""
    names = [name for name, asked in ((SAID, data_of(config).sampled), (PASSED, is_sliced(config))) if asked]
    return all((folder / name.format(part.start)).is_file() for name in names for part in _parts(config))


def _parts(config: SFTConfig) -> list[range]:
    """The problems that are sampled at once, and lie in one file."""
    count = used(config)
    return [range(first, min(first + config.batch_size, count)) for first in range(0, count, config.batch_size)]


def sample(
    model: PreTrainedModel,
    chat: Chat,
    task: Task,
    style: Style,
    config: SFTConfig,
    folder: Path,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> Samples:
    """What `model` says about the problems, one conversation each, of which those are sampled that are not in the
    folder. Raises RuleshiftError for a file there that is damaged."""
    count, engine = used(config), local_engine(model, chat, config)
    folder.mkdir(exist_ok=True)

    def sampled(parts: Sequence[range]) -> list[tuple[Path, int]]:
        files = []
        for indices in parts:
            files.append((folder / SAID.format(indices.start), len(indices)))
            if not files[-1][0].exists():
                problems = [task.problem(config.split, config.seed, index, style) for index in indices]
                lines = [_line(model, chat, episode) for episode in revise(problems, engine, config.turns)]
                write_atomically(files[-1][0], "".join(lines))
            if progress is not None:
                progress(indices.stop, count)
        return files

    return _read(processes.spread(sampled, _parts(config)))


def pass_rates(
    model: PreTrainedModel,
    chat: Chat,
    task: Task,
    style: Style,
    config: SFTConfig,
    folder: Path,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> PassRates:
    """How often `model` solves each problem without a mistake, of `pass_samples` conversations with one try at each
    step, kept in the folder as `sample` keeps conversations. Source of slices by it: arXiv 2602.10815."""
    count, engine, each = used(config), local_engine(model, chat, config), config.pass_samples
    folder.mkdir(exist_ok=True)

    def sampled(parts: Sequence[range]) -> list[tuple[tuple[int, ...], TokenCount, int]]:
        counted = []
        for indices in parts:
            path = folder / PASSED.format(indices.start)
            if not path.exists():
                asked = [(index, number) for index in indices for number in range(each)]
                problems = [task.problem(config.split, config.seed, index, style) for index, _ in asked]
                episodes = revise(problems, engine, 1, samples=[number for _, number in asked])
                right = [episode.solved for episode in episodes]
                content = {
                    "right": [sum(right[place : place + each]) for place in range(0, len(right), each)],
                    "tokens": sum(len(episode.token_ids) for episode in episodes),
                    "generated": sum(len(turn.completion.token_ids) for e in episodes for turn in e.turns),
                    "patches": sum(patches(model, chat.eye, e.pictures) for e in episodes) if chat.eye else 0,
                }
                write_atomically(path, json.dumps(content) + "\n")
            counted.append(_counted(path, len(indices), each))
            if progress is not None:
                progress(indices.stop, count)
        return counted

    counted = processes.spread(sampled, _parts(config))
    shares = [number / each for counts, *_ in counted for number in counts]
    taken = sum((took for _, took, _ in counted), TokenCount())
    return PassRates(tuple(shares), taken, sum(generated for *_, generated in counted))


def _counted(path: Path, count: int, most: int) -> tuple[tuple[int, ...], TokenCount, int]:
    """How many replies were right to each of `count` problems. Raises RuleshiftError for a file that is damaged."""
    try:
        content = json.loads(path.read_bytes())
        right, took = _ids(content["right"]), _ids([content["tokens"], content["patches"], content["generated"]])
        if len(right) != count or max(right) > most:
            raise ValueError("it is of other problems")
    except UNREADABLE as error:
        raise _damaged(path, error) from error
    return right, TokenCount(forward=took[0], patches_forward=took[1]), took[2]


def _line(model: PreTrainedModel, chat: Chat, episode: Episode) -> str:
    steps = []
    for turns in episode.steps:
        tries = [list(turn.completion.token_ids) for turn in turns]
        steps.append({"tries": tries, "right": turns[-1].verdict.right})
    seen = 0 if chat.eye is None else patches(model, chat.eye, episode.pictures)
    judged = {name: part for name, (part,) in counts_of([episode]).items()}
    return json.dumps({"steps": steps, "tokens": len(episode.token_ids), "patches": seen, "judged": judged}) + "\n"


def _read(files: list[tuple[Path, int]]) -> Samples:
    """What the files hold, each of so many lines."""
    at, right, first_tries, steps, written, taken = [], [], 0, 0, 0, TokenCount()
    judged: Counter[str] = Counter()
    for path, count in files:
        for first, size, said in _lines(path, count):
            at.append((path, first, size))
            right.append(any(step.right for step in said.steps))
            first_tries += sum(step.right and len(step.tries) == 1 for step in said.steps)
            steps += len(said.steps)
            judged.update(said.judged)
            written += sum(len(ids) for step in said.steps for ids in step.tries)
            taken += TokenCount(forward=said.tokens, patches_forward=said.patches)
    metrics = {
        "problems": len(at),
        "accepted_first": first_tries / steps,  # steps, at the first try
        "accepted_any": sum(right) / len(at),  # problems
        "generated_tokens": written,
        "sampling_tokens": taken.forward,
        "sampling_patches": taken.patches_forward,
        **shares(judged),
    }
    return Samples(tuple(at), tuple(right), metrics, taken)


def _lines(path: Path, count: int) -> Iterator[tuple[int, int, Said]]:
    """First byte, size and content of each line. Raises RuleshiftError for anything but `count` of them."""
    try:
        first = found = 0
        with path.open("rb") as file:
            for line in file:
                yield first, len(line), _said(line)
                first += len(line)
                found += 1
        if found != count:
            raise ValueError(f"it holds {found} conversations in the place of {count}")
    except UNREADABLE as error:
        raise _damaged(path, error) from error


def _said(line: bytes) -> Said:
    content: Any = json.loads(line)
    steps = tuple(Step(tuple(map(_ids, step["tries"])), step["right"]) for step in content["steps"])
    if not steps or not all(step.tries and isinstance(step.right, bool) for step in steps):
        raise ValueError("replies are missing")
    judged = dict(content.get("judged", {}))
    tokens, seen, *_ = _ids([content["tokens"], content["patches"], *judged.values()])
    return Said(steps, tokens, seen, judged)


def _ids(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, list) or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("something else stands for token ids")
    return tuple(numbers)


def _damaged(path: Path, error: BaseException) -> RuleshiftError:
    return RuleshiftError(
        f"{path} cannot be read ({reason_of(error)[:100]}): delete it and run the same command again, which samples "
        "these conversations anew"
    )
