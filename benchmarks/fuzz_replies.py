"""Mutated replies, read and judged: how many, how long the slowest takes, and whether anything is raised.

    python benchmarks/fuzz_replies.py --count 1000000 --processes 2

Each string comes of a reply of the kinds that models write, damaged a few times: parts doubled, cut out, swapped,
repeated up to 100,000 characters, or taken from other replies. String number i is a function of (seed, i). Both tasks
judge it, cards in both modes. The last line is JSON; the exit status is 1 where anything was raised.
"""

import argparse
import json
import random
import sys
import time
from dataclasses import dataclass
from multiprocessing import Pool

from ruleshift.tasks.generalpoints.task import GeneralPoints
from ruleshift.tasks.virl.task import Virl
from timing import print_json

LONGEST = 100_000
LONG = 0.02  # share of the strings that are that long
SHARES = 64  # of the work
CARDS = '{"cards": ["A", "2", "3", "4"], "number": [1, 2, 3, 4], "formula": "(1+2+3)*4=24"}'
WALK = (
    '{"current observation": "\\"Zum Löwen\\" is on your left. You observe an intersection.", '
    '"current instruction": "Turn left, so that you face west.", "action": "turn_direction(\\"left\\")"}'
)
SEEDS = [
    CARDS,
    WALK,
    f"```json\n{CARDS}\n```",
    f"<think>maybe {CARDS}\nno</think>\n{WALK}",
    f"{CARDS}</think>{CARDS}",
    f'{{"steps": [{WALK}, {CARDS}], "answer": {CARDS}}}',
    str(json.loads(CARDS)),
    str(json.loads(WALK)),
    CARDS.replace('"', "“").replace(":", "："),
    "**Cards:** [A, 2, 3, 4]\n**Number:** [1, 2, 3, 4]\n**Formula:** $\\frac{8}{2} \\times (1+2+3) = 24$",
    "Action: turn_direction(x='left').\nCurrent observation: I don’t see an intersection, only Joe’s Bar.",
    '{"formula": "24 = \\boxed{\\left(1 \\cdot 2\\right) \\div 3}", "action": "do not stop()"}',
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>" + WALK,
    "[THINK]x[/THINK]formula: （１＋２）＊４, action: stop",
]
PIECES = [
    *"{}[]()\"'“”„’`:：,=<>/*^…",
    *("\\", "\\n", "\\u", "\\ud800", "\\times", "\\frac{", "...", "```", "<think>", "</think>", "<|channel|>final"),
    *('"formula":', "formula:", '"action":', "action: ", '"current observation":', "turn_direction(", "forward()"),
    *("stop()", "not ", "intersection", "cross", '{ "a":', "null", "True", "1e999", "-1", "9" * 12, "None"),
    *("🂡", "\u0315\u0300", "\0", "\ud800", "\t", "\r", "٣", "１", " ", "\n"),
]


@dataclass(frozen=True)
class Finding:
    """Of a share of the strings: how many, the slowest (seconds, its number) and what was raised."""

    count: int
    slowest: tuple[float, int]
    raised: tuple[str, ...]


def mutated(seed: int, number: int) -> str:
    """String `number` of a seed."""
    rng = random.Random(f"{seed}/{number}")
    text = rng.choice(SEEDS)
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
        text = _damaged(text, rng)
    if rng.random() < LONG:
        start = rng.randint(0, len(text))
        part = text[start : start + rng.choice((1, 5, 20, 100))] or rng.choice(PIECES)
        text = text[:start] + part * (LONGEST // len(part)) + text[start:]
        return text[:LONGEST] if rng.random() < 0.5 else text[-LONGEST:]
    return text[:LONGEST]


def _damaged(text: str, rng: random.Random) -> str:
    start, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
    before, part, after = text[:start], text[start:end], text[end:]
    choices = ("", part + part, rng.choice(SEEDS), part[::-1], rng.choice(PIECES) + part, part[: len(part) // 2])
    return after + part + before if rng.random() < 0.1 else before + rng.choice(choices) + after


def judged(seed: int, numbers: range) -> Finding:
    """Some strings of a seed, read and judged by every task."""
    problems = [task.problem("id", 0, 0) for task in (GeneralPoints(), GeneralPoints(compat="official"), Virl())]
    slowest, raised = (0.0, numbers.start), []
    for number in numbers:
        text = mutated(seed, number)
        for problem in problems:
            started = time.process_time()
            try:
                problem.submit(text, False)
            except Exception as error:  # what is counted here
                raised.append(f"{number}: {type(error).__name__}: {error}")
            slowest = max(slowest, (time.process_time() - started, number))
    return Finding(len(numbers), slowest, tuple(raised))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="how many strings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    shares = [(options.seed, range(k, options.count, SHARES)) for k in range(min(SHARES, options.count))]
    started = time.perf_counter()
    with Pool(options.processes) as pool:
        findings = pool.starmap(judged, shares, chunksize=1)
    seconds = time.perf_counter() - started
    count, slowest = sum(found.count for found in findings), max(found.slowest for found in findings)
    raised = [line for found in findings for line in found.raised]
    print(f"{count:,} strings in {seconds:.0f} s, {len(raised)} exceptions")
    print(f"slowest: string {slowest[1]}, {slowest[0] * 1000:.1f} ms of one processor for one task")
    for line in raised[:20]:
        print(line)
    results = {"count": count, "seconds": seconds, "slowest_seconds": slowest[0], "exceptions": len(raised)}
    print_json("fuzz_replies", vars(options), results)
    sys.exit(bool(raised))


if __name__ == "__main__":
    main()
