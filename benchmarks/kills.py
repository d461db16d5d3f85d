"""Kills work at random moments, resumes it until it is done, and compares every byte with work that was never broken.

    python benchmarks/kills.py --kills 100                # all verbs and tasks; about an hour on two cores
    python benchmarks/kills.py --kills 8 --verbs sft rl --tasks gp-l

A kill is SIGKILL to the whole process group, at a moment drawn evenly from the time in which the unbroken work ran,
or from the time since it took its folder, which is where it can do harm. Three in ten are killed a second time. Every
process, the workers of studies too, starts as a fork of one that has imported what is slow to import.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

VERBS = ("sft", "rl", "eval", "study")
TASKS = ("gp-l", "virl-l", "gp-vl", "virl-vl")
AGAIN = 0.3  # share of the kills after which the resumed work is killed, too
LONGEST = 1800.0  # seconds after which work counts as stuck
SMALL = {  # work of a few seconds, with a checkpoint at every second step or at every update
    "gp-l": (8, 4, 4, 6),  # steps and batch of SFT, updates and episodes of PPO
    "virl-l": (8, 4, 4, 4),
    "gp-vl": (6, 2, 3, 4),
    "virl-vl": (4, 1, 3, 2),
}


@dataclass
class Cell:
    """What became of the kills of one verb on one task."""

    verb: str
    task: str
    kills: int = 0
    resumed: int = 0  # work that was there when it was killed, and was done when it had been run again
    differences: int = 0
    seconds: float = 0.0

    def row(self) -> str:
        numbers = f"{self.kills} | {self.resumed} | {self.differences} | {self.seconds / 60:.1f}"
        return f"| {self.verb} | {self.task} | {numbers} |"


def command(verb: str, task: str, folder: Path) -> list[str]:
    """A small piece of work of this kind, all of whose results lie in `folder`."""
    if verb == "eval":
        files = ("--json", str(folder / "results.json"), "--episodes", str(folder / "episodes.parquet"))
        return [*f"eval {task} --n 4 --turns 2 --decoding sampled --split id".split(), *files]
    steps, batch, updates, episodes = SMALL[task]
    sft = f"steps {steps} examples {2 * batch} batch {batch} micro-batch {-(-batch // 2)} save-every 2".split()
    rl = f"updates {updates} episodes {episodes} turns 2 value-steps 2 warmup 1 value-only 1 save-every 1".split()
    if verb != "study":
        return [verb, task, "--out", str(folder), *_options("--", sft if verb == "sft" else rl)]
    kind = "vision" if task.endswith("vl") else "headline"
    initial = int(task == "gp-l")  # a step of 128 conversations, which takes its time with routes or pictures
    shape = f"--n 2 --splits id --points 2 --init-steps {initial} --workers 2 --set matched_rates=none"
    measurement = ["kl-problems", "2", "turns", "1,2"]
    recipe = [*_settings("sft", sft), *_settings("rl", rl), *_settings("measurement", measurement)]
    return [*f"study {kind} --tasks {task} {shape}".split(), "--out", str(folder), *recipe]


def _settings(part: str, pairs: list[str]) -> list[str]:
    """The same pairs as settings of a part of a study's recipe."""
    names, values = pairs[::2], pairs[1::2]
    return [word for name, value in zip(names, values, strict=True) for word in ("--set", f"{part}.{name}={value}")]


def _options(prefix: str, pairs: list[str]) -> list[str]:
    """Names of options, each followed by its value, with a prefix before the names."""
    return [word if place % 2 else prefix + word for place, word in enumerate(pairs)]


def start(arguments: list[str], log: Path) -> int:
    """Run the command in a process group of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    import multiprocessing

    from ruleshift.cli import main
    from ruleshift.studies import pool

    vars(pool)["get_context"] = lambda _: multiprocessing.get_context("fork")
    sys.argv = ["ruleshift", *arguments]
    status = 70
    try:
        status = main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(child: int, until: float) -> int | None:
    """The exit status of the process, or None if it is still at work at the time `until`."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
        if time.monotonic() >= until:
            return None


def kill(child: int) -> None:
    with suppress(ProcessLookupError):  # it may have ended, or have no group of its own yet
        os.killpg(child, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def finish(arguments: list[str], log: Path) -> bool:
    """Run the command to its end; whether it came there, with status 0, within `LONGEST`."""
    child = start(arguments, log)
    status = ended(child, time.monotonic() + LONGEST)
    if status is None:
        kill(child)
    return status == 0


def results(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of all that work leaves as its results; of a file with rows, the rows."""
    kept = ("metrics.jsonl", "results.json", "comparisons.json", "episodes.parquet")
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        is_result = file.name in kept or "model/" in name or "models/" in name or "points/" in name
        if not file.is_file() or not is_result or "checkpoints/" in name:
            continue
        content = file.read_bytes()
        if file.name == "results.json":  # beside the rows stand the time and the command
            content = json.dumps(json.loads(content)["rows"]).encode()
        yield name, content


def different(there: Path, here: Path) -> list[str]:
    """Names of the results in which two folders differ."""
    expected, found = dict(results(there)), dict(results(here))
    assert expected, f"no results in {there}"
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def strike(arguments: list[str], folder: Path, log: Path, lasts: float, rng: random.Random) -> bool:
    """Start work that takes about so many seconds and kill it at a random moment; False if it was done before."""
    child, began = start(arguments, log), time.monotonic()
    if rng.random() < 0.5:  # since it took its folder
        while not any(folder.rglob("config.json")) and time.monotonic() < began + lasts / 2:
            if ended(child, 0.0) is not None:
                return False
    left = max(0.1, began + lasts - time.monotonic())
    if ended(child, time.monotonic() + rng.uniform(0, left)) is not None:
        return False
    kill(child)
    return True


def campaign(cell: Cell, kills: int, root: Path, rng: random.Random) -> None:
    """Fill a cell: the unbroken work, then `kills` times the same work, killed and resumed."""
    began = time.monotonic()
    whole = root / f"{cell.verb}-{cell.task}"
    whole.mkdir(parents=True)
    started = time.monotonic()
    if not finish(command(cell.verb, cell.task, whole), root / "log.txt"):
        sys.exit(f"{cell.verb} {cell.task} does not run at all; see {root / 'log.txt'}")
    lasts = time.monotonic() - started
    for number in range(kills):
        folder = root / f"{cell.verb}-{cell.task}-{number}"
        arguments, log = command(cell.verb, cell.task, folder), root / f"{folder.name}.txt"
        killed = False
        while not killed:  # until the moment falls within the work
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            killed = strike(arguments, folder, log, lasts, rng)
        cell.kills += 1
        if rng.random() < AGAIN:
            cell.kills += strike(arguments, folder, log, lasts, rng)
        done = finish(arguments, log)
        changed = different(whole, folder) if done else ["everything: it did not end well"]
        cell.resumed += done
        cell.differences += bool(changed)
        if changed:
            print(f"{folder} differs: {', '.join(changed[:5])}; see {log}", file=sys.stderr, flush=True)
        else:
            shutil.rmtree(folder)
    cell.seconds = time.monotonic() - began


def table(cells: Iterable[Cell]) -> str:
    cells = list(cells)
    total = Cell("all", "", *(sum(getattr(cell, n) for cell in cells) for n in ("kills", "resumed", "differences")))
    total.seconds = sum(cell.seconds for cell in cells)
    heading = "| verb | task | kills | pieces of work resumed to the end | that differ from unbroken | minutes |"
    return "\n".join([heading, "|---|---|---|---|---|---|", *(cell.row() for cell in [*cells, total])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="pieces of work to kill, over all verbs and tasks")
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=VERBS)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for what is made; by default a temporary one")
    options = parser.parse_args()
    # What children would import, each for itself.
    import ruleshift.backbones.load
    import ruleshift.commands.bars
    import ruleshift.evaluation.episodes
    import ruleshift.studies.run
    import ruleshift.training.train  # noqa: F401

    rng = random.Random(options.seed)
    root = Path(tempfile.mkdtemp(prefix="kills-", dir=options.work))
    cells = [Cell(verb, task) for verb in options.verbs for task in options.tasks]
    for place, cell in enumerate(cells):
        share = options.kills * (place + 1) // len(cells) - options.kills * place // len(cells)
        if share:
            campaign(cell, share, root, rng)
            print(cell.row(), file=sys.stderr, flush=True)
    print(table(cell for cell in cells if cell.seconds))
    if any(cell.differences for cell in cells):
        sys.exit(1)
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
