"""What can be had without any skill, and with all of it: the floors of a task and its ceiling, on the very problems
that models are measured on. No model is needed, so that this takes seconds."""

from collections.abc import Sequence
from dataclasses import replace

from ruleshift.engines.text import insider
from ruleshift.evaluation.evaluate import Point, cell_of, evaluate, rows_of
from ruleshift.results import CEILING, Row
from ruleshift.tasks.protocol import Style, Task


def reference_rows(
    task: Task,
    splits: Sequence[str],
    n: int,
    turns: Sequence[int],
    decodings: Sequence[str],
    seed: int,
    style: Style = "full",
) -> list[Row]:
    """Rows of the floors that the task's recipe names, and of the expert, each as an arm of that name.

    turns: verification budgets. They answer the problems 0..n-1 of (split, seed), without looking at pictures, and
    alike whatever the decoding.
    """
    unseen, points = task.unseen(), []
    for name in (*task.recipe.floors, CEILING):
        answered = {
            split: evaluate(insider(name, seed), unseen, split, n, max(turns), style, seed, pictured=0)
            for split in splits
        }
        cells = [cell_of(split, decoding, answered[split]) for decoding in decodings for split in splits]
        points.append(Point(task.id, name, 0, 0, 0.0, 0.0, tuple(cells)))
    rows = [row for point in points for row in rows_of(point, turns, task.metric != "success")]
    return [replace(row, kl_to_start=None, train_flops=None) for row in rows]
