"""Sets of splits with their sizes, by name and version, so that report cards can be compared."""

from dataclasses import dataclass

from ruleshift.tasks.protocol import Task


@dataclass(frozen=True)
class SuitePart:
    """What is asked of one task: `n` problems of each split, within the task's usual budget of turns."""

    task: str
    splits: tuple[str, ...]
    n: int


@dataclass(frozen=True)
class Suite:
    """Parts by task. `version` goes up with any change to them."""

    name: str
    version: int
    parts: tuple[SuitePart, ...]
    n: int  # of tasks that are not among the parts

    def part(self, task: Task, name: str) -> SuitePart:
        """What is asked of a task; of one that the suite does not know, every split but those to learn on."""
        known = {part.task: part for part in self.parts}
        splits = tuple(split for split in task.splits() if split not in ("train", "id-val"))
        return known.get(name, SuitePart(name, splits, self.n))


_CARDS, _WALKS = ("id", "rule-ood", "heldout", "fake"), ("id", "rule-ood", "city-ood", "fake")
SUITES = {
    "quick": Suite(
        "quick",
        1,
        (
            SuitePart("gp-l", _CARDS, 100),
            SuitePart("virl-l", _WALKS, 30),
            SuitePart("gp-vl", ("id", "rule-ood", "visual-ood", "fake"), 60),
            SuitePart("virl-vl", ("id", "rule-ood", "visual-ood", "city-ood"), 15),
        ),
        50,
    ),
    "full": Suite(
        "full",
        1,
        (
            SuitePart("gp-l", (*_CARDS, "rule-ood-heldout", "all-12", "large", "target-36", "five-cards"), 400),
            SuitePart("virl-l", _WALKS, 150),
            SuitePart("gp-vl", ("id", "rule-ood", "visual-ood", "both-ood", "style-ood", "heldout", "fake"), 300),
            SuitePart("virl-vl", ("id", "rule-ood", "visual-ood", "city-ood"), 60),
        ),
        200,
    ),
}
TEXT = ("gp-l", "virl-l")
