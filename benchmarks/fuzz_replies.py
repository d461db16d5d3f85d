"""Mutated replies, read and judged: how many, how long the slowest takes, and whether anything is raised.

    python benchmarks/fuzz_replies.py --count 10000000 --processes 2

Each string comes of a reply of the kinds that models write, or is a reply with one field that does (a formula, an
action, an observation), damaged a few times: parts doubled, cut out, swapped, or taken from others. Most have at most
a thousand characters; of every 5,000 one is repeated up to 100,000. Each is judged by one of the tasks, in one of the
modes. String number i, and who judges it, are functions of (seed, i). The last line is JSON; the exit status is 1 where
anything was raised.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from copy import copy
from dataclasses import dataclass
from multiprocessing import Pool

from ruleshift.tasks.generalpoints.task import GeneralPoints
from ruleshift.tasks.protocol import Problem
from ruleshift.tasks.virl.task import Virl
from timing import print_json

LONGEST = 100_000
LONG = 0.0002  # share of the strings that are that long
SHORT = 1_000
SHARES = 64  # of the work
JUDGES = (GeneralPoints(), GeneralPoints(compat="official"), Virl(), Virl(compat="official"))
CARDS = GeneralPoints().problem("id", 0, 0).gold()
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
FIELDS = {  # that are damaged alone, in a reply that is whole
    "formula": [
        *(
            json.loads(CARDS)["formula"],
            "(1+2+3)*4=24",
            "24 = 4*(3+2+1)",
            "(1+2+3)*4=24 or 1*2*3*4=24",
            "８÷（１＋２）",
            "[1+2]×{3·4}",
            "2**3^4",
            "",
        ),
        *(r"$\boxed{\frac{(1+2)*4}{3} \times 6 = 24}$", r"\left( 1 \cdot 2 \right) \div 3\*4", "\times \frac{1}{2}"),
    ],
    "action": [
        *('turn_direction("left")', "turn_direction(x=slightly left)", "Turn_Direction: 'north-east'.", "stop", "none"),
        *(
            "do not stop()",
            "forward() or turn left",
            "**forward()**",
            "turnDirection( ＬＥＦＴ )",
            "(((",
            "print(stop())",
        ),
    ],
    "current observation": [
        *("No landmarks nearby. You observe an intersection.", "„Zum Löwen“ is on your left.", "none cross", "Café"),
        *(
            "I don’t see an intersection, but Joe’s Bar.",
            "Intersection: none",
            "Kings Cross, not The Intersection Cafe",
        ),
    ],
}
PIECES = [
    *"{}[]()\"'“”„’`:：,=<>/*^…",
    *("\\", "\\n", "\\u", "\\ud800", "\\times", "\\frac{", "...", "```", "<think>", "</think>", "<|channel|>final"),
    *('"formula":', "formula:", '"action":', "action: ", '"current observation":', "turn_direction(", "forward()"),
    *("stop()", "not ", "intersection", "cross", '{ "a":', "null", "True", "1e999", "-1", "9" * 12, "None"),
    *("🂡", "\u0315\u0300", "\0", "\ud800", "\t", "\r", "٣", "１", " ", "\n"),
]


@dataclass(frozen=True)
class Finding:
    """Of a share of the strings: how many, the slowest (seconds, its number), what was raised, and the outcomes."""

    count: int
    slowest: tuple[float, int]
    raised: tuple[str, ...]
    outcomes: Counter[str]


def mutated(seed: int, number: int) -> str:
    """String `number` of a seed."""
    rng = random.Random(seed << 40 | number)
    name = rng.choice(("", "", *FIELDS))
    text = rng.choice(FIELDS[name] if name else SEEDS)
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        text = _damaged(text, rng, SEEDS if not name else FIELDS[name])[:SHORT]
    if rng.random() < LONG:
        text = _lengthened(text, rng)
    if name:
        others = {"cards": ["A"], "number": [1]} if name == "formula" else {"action": "forward()"}
        return json.dumps(others | {name: text}, ensure_ascii=rng.random() < 0.5)
    return text


def _damaged(text: str, rng: random.Random, others: list[str]) -> str:
    start = int(rng.random() * (len(text) + 1))
    end = min(len(text), start + int(rng.expovariate(0.05)))
    before, part, after = text[:start], text[start:end], text[end:]
    kind = int(rng.random() * 7)
    if kind == 0:
        return after + part + before
    new = ("", part + part, rng.choice(others), part[::-1], rng.choice(PIECES) + part, rng.choice(PIECES))[kind - 1]
    return before + new + after


def _lengthened(text: str, rng: random.Random) -> str:
    start = rng.randint(0, len(text))
    part = text[start : start + rng.choice((1, 5, 20, 100))] or rng.choice(PIECES)
    text = text[:start] + part * (LONGEST // len(part)) + text[start:]
    return text[:LONGEST] if rng.random() < 0.5 else text[-LONGEST:]


def _problem(task: GeneralPoints | Virl) -> Problem:
    """The hand of `CARDS`, or a walk that begins with the action of `WALK`."""
    if isinstance(task, GeneralPoints):
        return task.problem("id", 0, 0)
    walks = (task.problem("rule-ood", 0, index) for index in range(100))
    return next(walk for walk in walks if walk.action == "turn_direction(left)")


def judged(seed: int, numbers: range) -> Finding:
    """Some strings of a seed, each read and judged by one of the judges.

    What seems slow is read again, by the clock of this process: asking that clock takes longer than most strings.
    """
    problems = [_problem(task) for task in JUDGES]
    slowest, raised, outcomes = (0.0, numbers.start), [], Counter[str]()
    for number in numbers:
        text, which = mutated(seed, number), number // SHARES % len(JUDGES)
        started = time.perf_counter()
        try:
            outcome = copy(problems[which]).submit(text, False).outcome  # a copy, as walks go on
            outcomes[f"{JUDGES[which].id} {outcome}"] += 1
        except Exception as error:  # what is counted here
            raised.append(f"{number}: {type(error).__name__}: {error}")
            continue
        if time.perf_counter() - started > slowest[0]:
            slowest = max(slowest, (_seconds(problems[which], text), number))
    return Finding(len(numbers), slowest, tuple(raised), outcomes)


def _seconds(problem: Problem, text: str) -> float:
    """Of a processor, to read and judge a string."""
    started = time.process_time()
    copy(problem).submit(text, False)
    return time.process_time() - started


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
    print(f"{count:,} strings in {seconds:.0f} s, {count / seconds:,.0f} a second, {len(raised)} exceptions")
    outcomes = sum((found.outcomes for found in findings), Counter[str]())
    for outcome, times in sorted(outcomes.items()):
        print(f"{outcome:24} {times:,}")
    print(f"slowest: string {slowest[1]}, {slowest[0] * 1000:.1f} ms of one processor for one task")
    for line in raised[:20]:
        print(line)
    results = {"count": count, "seconds": seconds, "slowest_seconds": slowest[0], "exceptions": len(raised)}
    print_json("fuzz_replies", vars(options), results)
    sys.exit(bool(raised))


if __name__ == "__main__":
    main()
