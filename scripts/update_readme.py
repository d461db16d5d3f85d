#!/usr/bin/env python3
"""Write the tables of README.md from docs/results (the numbers of published runs).

python scripts/update_readme.py            write them
python scripts/update_readme.py --check    exit with 1 if README.md shows anything else
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from ruleshift.evaluation.comparison import Comparison, load_comparisons
from ruleshift.report.arms import legend_of
from ruleshift.results import Results, load_results

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "docs" / "results"
STUDY = {"gp-l": "headline", "virl-l": "headline", "gp-vl": "vision", "virl-vl": "vision"}


@dataclass(frozen=True)
class Column:
    metric: str
    split: str
    turns: int
    heading: str


COLUMNS = {
    "gp-l": (
        Column("success", "id", 1, "training rule, 1 turn"),
        Column("success", "id", 5, "training rule, 5 turns"),
        Column("success", "rule-ood", 1, "shifted rule, 1 turn"),
        Column("success", "rule-ood", 5, "shifted rule, 5 turns"),
        Column("success", "heldout", 5, "unseen numbers, 5 turns"),
        Column("success", "fake", 1, "fake, 1 turn"),
    ),
    "virl-l": (
        Column("step_accuracy", "id", 2, "training rule, steps"),
        Column("success", "id", 2, "training rule, routes"),
        Column("step_accuracy", "rule-ood", 2, "shifted rule, steps"),
        Column("success", "rule-ood", 2, "shifted rule, routes"),
        Column("step_accuracy", "city-ood", 2, "other cities, steps"),
        Column("step_accuracy", "fake", 1, "fake, steps"),
    ),
    "gp-vl": (
        Column("success", "id", 5, "black suits"),
        Column("success", "visual-ood", 5, "red suits"),
        Column("success", "rule-ood", 5, "shifted rule"),
        Column("recognition", "id", 1, "black suits, read right"),
        Column("recognition", "visual-ood", 1, "red suits, read right"),
    ),
    "virl-vl": (
        Column("step_accuracy", "id", 2, "training city, steps"),
        Column("step_accuracy", "visual-ood", 2, "in other looks, steps"),
        Column("step_accuracy", "city-ood", 2, "other cities, steps"),
        Column("step_accuracy", "mini", 2, "mini, steps"),
        Column("step_accuracy", "rule-ood", 2, "shifted rule, steps"),
        Column("recognition", "id", 1, "training city, read right"),
        Column("recognition", "city-ood", 1, "other cities, read right"),
    ),
}
SHOWN = {
    "gp-l": "Score under the shifted rule against the training rule",
    "virl-l": "Score under the shifted rule against the training rule",
    "gp-vl": "Score with red suits against black suits",
    "virl-vl": "Score in the looks of other cities against those of the training city",
}
NOTES = {
    "gp-l": "Success in %; {n} hands a cell. *shifted rule*: J, Q, K count 11, 12, 13. *fake*: the prompt states the "
    "shifted rule, the verifier scores the training rule; higher means memorised.",
    "virl-l": "Right steps (retries counted) and whole routes in %, 2 tries at a position; {n} routes a cell. *shifted "
    "rule*: left and right in place of compass names. *fake*: the prompt lists the shifted words, the verifier wants "
    "those of training, 1 try; higher means memorised.",
    "gp-vl": "Success within 5 turns, and first replies that state all cards rightly, in %; {n} hands a cell. *black "
    "suits*: as in training; *shifted rule*: black suits, J, Q, K count 11, 12, 13.",
    "virl-vl": "Right steps (retries counted), 2 tries at a position, and positions whose first reply states rightly "
    "what is seen, in %; {n} routes a cell, 18 in *mini*. *in other looks*: the training city as nine others look; "
    "*shifted rule*: the training city, left and right in place of compass names.",
}


def block(task: str) -> str:
    """What stands between the markers of a task."""
    folder = PUBLISHED / STUDY[task] / task
    results, comparisons = load_results(folder / "results.json"), load_comparisons(folder / "comparisons.json")
    meta = results.meta
    parts = [
        f"![{SHOWN[task]}, and distance moved](docs/{STUDY[task]}-{task}.png)",
        "",
        *(line for decoding in ("sampled", "greedy") for line in [*table(task, results, comparisons, decoding), ""]),
        NOTES[task].format(n=results.rows[0].n)
        + f" At the end of training, mean over seeds {', '.join(map(str, meta['seeds']))}, the same problems for every "
        "arm; in brackets the paired difference to the base with its 95% interval over problems.",
        f"`{meta['command']}`, commit {str(meta['commit'])[:10]}, {meta['time']}, "
        f"{meta['duration_s'] / 60:.0f} minutes on two CPU cores.",
    ]
    return "\n".join(parts)


def table(task: str, results: Results, comparisons: list[Comparison], decoding: str) -> list[str]:
    """A markdown table: a line per arm, a column per split and number of turns."""
    rows = [row for row in results.rows if row.decoding == decoding]
    heads = " | ".join(column.heading for column in COLUMNS[task])
    lines = [f"| {decoding} | {heads} |", "|---|" + "---:|" * len(COLUMNS[task])]
    legend = legend_of(results)
    for arm in legend.arms_in(rows):
        cells = []
        for column in COLUMNS[task]:
            what = (arm, column.metric, column.split, column.turns)
            mine = [row for row in rows if (row.arm, row.metric, row.split, row.turns) == what]
            ends = [max((r for r in mine if r.seed == seed), key=lambda r: r.step) for seed in {r.seed for r in mine}]
            cells.append(
                cell(fmean(row.value for row in ends), against_start(comparisons, arm, legend.start, column, decoding))
            )
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return lines


def against_start(
    comparisons: list[Comparison], arm: str, start: str, column: Column, decoding: str
) -> Comparison | None:
    wanted = (arm, start, column.metric, column.split, column.turns, decoding, None)
    found = (
        c for c in comparisons if (c.arm, c.reference, c.metric, c.split, c.turns, c.decoding, c.matched_on) == wanted
    )
    return next(found, None)


def cell(value: float, change: Comparison | None) -> str:
    if change is None:
        return f"{100 * value:.1f}"
    low, high = 100 * change.ci_low, 100 * change.ci_high
    return f"{100 * value:.1f} ({100 * change.difference:+.1f} [{low:+.1f}, {high:+.1f}])"


def main() -> int:
    readme = ROOT / "README.md"
    text = wanted = readme.read_text(encoding="utf-8")
    for task in COLUMNS:
        begin, end = f"<!-- headline {task} -->", f"<!-- /headline {task} -->"
        before, rest = wanted.split(begin)
        wanted = f"{before}{begin}\n{block(task)}\n{end}{rest.split(end)[1]}"
    if "--check" in sys.argv[1:]:
        return int(text != wanted)
    readme.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
