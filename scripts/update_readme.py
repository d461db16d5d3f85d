#!/usr/bin/env python3
"""Write the headline table of README.md from docs/results/headline (the numbers of a published run).

python scripts/update_readme.py            write it
python scripts/update_readme.py --check    exit with 1 if README.md shows anything else
"""

import sys
from pathlib import Path
from statistics import fmean

from ruleshift.evaluation.comparison import Comparison, load_comparisons
from ruleshift.results import Results, load_results

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- headline -->", "<!-- /headline -->"
COLUMNS = (("id", 1), ("id", 5), ("rule-ood", 1), ("rule-ood", 5), ("heldout", 5), ("fake", 1))
HEADINGS = {"id": "training rule", "rule-ood": "shifted rule", "heldout": "unseen numbers", "fake": "fake"}


def headline(results: Results, comparisons: list[Comparison]) -> str:
    """The block between the markers."""
    meta = results.meta
    parts = [
        "![Shifted success against success on the training rule, and against distance moved](docs/headline.png)",
        "",
        *(line for decoding in ("sampled", "greedy") for line in [*table(results, comparisons, decoding), ""]),
        f"Success in %, at the end of training, mean over seeds {', '.join(map(str, meta['seeds']))}; "
        f"{results.rows[0].n} hands a cell, the same for every arm; in brackets the paired difference to the base with "
        "its 95% interval over hands. *shifted rule*: J, Q, K count 11, 12, 13. *fake*: the prompt states the shifted "
        "rule, the verifier scores the training rule; higher means memorised. Learning rates of `sft` and `rl` chosen "
        "on validation hands of the training rule; suffixed arms use another one.",
        f"`{meta['command']}`, commit {str(meta['commit'])[:10]}, {meta['time']}, "
        f"{meta['duration_s'] / 60:.0f} minutes on two CPU cores.",
    ]
    return "\n".join(parts)


def table(results: Results, comparisons: list[Comparison], decoding: str) -> list[str]:
    """A markdown table: a line per arm, a column per split and number of turns."""
    rows = [row for row in results.rows if row.decoding == decoding and row.metric == "success"]
    heads = [f"{HEADINGS[split]}, {turns} turn{'s' * (turns > 1)}" for split, turns in COLUMNS]
    lines = [f"| {decoding} | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for arm in dict.fromkeys(row.arm for row in sorted(rows, key=lambda row: order(row.arm))):
        cells = []
        for split, turns in COLUMNS:
            mine = [row for row in rows if (row.arm, row.split, row.turns) == (arm, split, turns)]
            ends = [max((r for r in mine if r.seed == seed), key=lambda r: r.step) for seed in {r.seed for r in mine}]
            cells.append(cell(fmean(row.value for row in ends), against_base(comparisons, arm, split, turns, decoding)))
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return lines


def order(arm: str) -> tuple[int, str]:
    return ("base", "sft", "rl").index(arm.split("-")[0]), arm


def against_base(comparisons: list[Comparison], arm: str, split: str, turns: int, decoding: str) -> Comparison | None:
    wanted = (arm, "base", split, turns, decoding)
    return next((c for c in comparisons if (c.arm, c.reference, c.split, c.turns, c.decoding) == wanted), None)


def cell(value: float, change: Comparison | None) -> str:
    if change is None:
        return f"{100 * value:.1f}"
    low, high = 100 * change.ci_low, 100 * change.ci_high
    return f"{100 * value:.1f} ({100 * change.difference:+.1f} [{low:+.1f}, {high:+.1f}])"


def main() -> int:
    folder = ROOT / "docs" / "results" / "headline"
    block = headline(load_results(folder / "results.json"), load_comparisons(folder / "comparisons.json"))
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    wanted = f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}"
    if "--check" in sys.argv[1:]:
        return int(text != wanted)
    readme.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
