"""Made-up results with the shape of a real study: one arm that keeps its OOD success, and one that loses it."""

import math

from ruleshift.evaluation.comparison import Comparison
from ruleshift.evaluation.statistics import wilson_interval
from ruleshift.records import Completion, Episode, Message, Turn, Verdict
from ruleshift.results import Results, Row

STEPS = 8
PROBLEMS = 1000
START = {"id": 0.52, "rule-ood": 0.17, "heldout": 0.45, "fake": 0.04}
END = {
    "sft": {"id": 0.71, "rule-ood": 0.07, "heldout": 0.58, "fake": 0.31},
    "rl": {"id": 0.66, "rule-ood": 0.21, "heldout": 0.56, "fake": 0.03},
}
META = {
    "title": "GeneralPoints in text: what SFT and RL taught",
    "command": "ruleshift study headline --seeds 1 2 3",
    "seeds": [1, 2, 3],
    "commit": "0123456789abcdef",
    "time": "2031-02-03 04:05 UTC",
    "duration_s": 540.0,
    "versions": {"ruleshift": "0.1.0", "torch": "2.13.0"},
    "splits": {"id": "test deals of the training rule: J, Q, K count 10", "rule-ood": "J, Q, K count 11, 12, 13"},
}


def row(arm: str, step: int, split: str, seed: int = 1, turns: int = 5, decoding: str = "greedy", **changes) -> Row:
    """A row whose value follows the arm's curve; `value` and other fields can be set."""
    progress = 0.0 if arm == "base" else 1 - math.exp(-2.5 * step / (10 * STEPS))
    last = END[arm.partition("-")[0]][split] if arm != "base" else START[split]
    value = START[split] + (last - START[split]) * progress + 0.012 * math.sin(7 * seed + 3 * step) * (step > 0)
    value = min(1.0, max(0.0, value * (1.5 if turns > 1 else 1.0) * (0.92 if decoding == "sampled" else 1.0)))
    successes = round(PROBLEMS * changes.pop("value", value))
    low, high = wilson_interval(successes, PROBLEMS)
    fields = {
        "kl_to_start": (0.9 if arm.startswith("sft") else 0.35) * progress,
        "train_flops": step * (2.1e13 if arm.startswith("sft") else 4.4e13),
        "metric": "success",
        **changes,
    }
    return Row(
        task="gp-l",
        arm=arm,
        seed=seed,
        step=step,
        split=split,
        turns=turns,
        decoding=decoding,
        value=successes / PROBLEMS,
        n=PROBLEMS,
        ci_low=low,
        ci_high=high,
        **fields,
    )


def results(arms=("sft", "rl"), seeds=(1, 2, 3), metrics=("success",)) -> Results:
    """Base, and every arm at eight steps, on four splits, with 1 and 5 turns, greedy and sampled."""
    points = [("base", 0)] + [(arm, 10 * step) for arm in arms for step in range(1, STEPS + 1)]
    rows = [
        row(arm, step, split, seed, turns, decoding, metric=metric)
        for arm, step in points
        for split in START
        for seed in (seeds if arm != "base" else seeds[:1])
        for turns in (1, 5)
        for decoding in ("greedy", "sampled")
        for metric in metrics
    ]
    return Results(tuple(rows), META)


def comparisons() -> list[Comparison]:
    """Both arms against base at the end, and against each other at matched ID success and matched KL."""
    found = []
    for decoding in ("greedy", "sampled"):
        for turns in (1, 5):
            for arm, split in [(arm, split) for arm in END for split in START]:
                value, base = END[arm][split], START[split]
                ends = (value, base, value - base, value - base - 0.03, value - base + 0.03)
                found.append(Comparison("At the end", split, turns, decoding, arm, "base", f"{arm} step 80", *ends))
            ends = (0.072, 0.211, -0.139, -0.166, -0.112)
            found.append(Comparison("At the end", "rule-ood", turns, decoding, "sft", "rl", "sft step 80", *ends))
            for title, on, at in (
                ("At matched ID success", "id", (0.661, 0.658)),
                ("At matched KL", "kl", (0.34, 0.35)),
            ):
                values = (0.101, 0.214, -0.113, -0.140, -0.086)
                found.append(
                    Comparison(title, "rule-ood", turns, decoding, "sft", "rl", "sft step 40", *values, on, *at)
                )
    return found


def episode(problem_id: str, replies: list[tuple[str, Verdict]]) -> Episode:
    messages = [Message("user", "Cards: 3, K, 5, 8\nJ=11 Q=12 K=13. Reach 24.")]
    turns = []
    for text, verdict in replies:
        turns.append(Turn((1, 2), Completion(text), verdict))
        messages += [Message("assistant", text), Message("user", verdict.feedback)]
    return Episode(problem_id, tuple(turns), tuple(messages))


def episodes() -> dict[str, list[Episode]]:
    wrong = Verdict("wrong_value", -1.0, False, "The formula equals 21, not 24. Try again.", found="21")
    foreign = Verdict("wrong_numbers", -2.0, False, "10 is on no card. Try again.")
    illegal = Verdict("illegal", -3.0, False, "The formula cannot be read. Try again.", valid=False)
    solved = Verdict("solved", 5.0, True, "Correct.", found="24")
    good = '{"cards": ["3","K","5","8"], "number": [3,13,5,8], "formula": "(13-5)*3*1=24"}'
    return {
        "base": [episode("gp-l/rule-ood/1/17", [("13+8+3-5=24", wrong), ("((13-5)*3", illegal), (good, solved)])],
        "sft": [
            episode("gp-l/rule-ood/1/17", [('{"number": [3,10,5,8], "formula": "10+8+..."}', foreign)] * 5),
            episode("gp-l/rule-ood/1/18", [(good, solved)]),
        ],
        "rl": [episode("gp-l/rule-ood/1/17", [("13+8+3-5", wrong), (good, solved)])],
    }
