"""Two tasks as one, for those who train on one after the other, or on both."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ruleshift.records import Feedback
from ruleshift.settings import Measurement
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Style, Task, TaskProblem, check_split
from ruleshift.tasks.recipe import Recipe


@dataclass(frozen=True)
class MixtureOptions:
    """What one is told."""

    feedback: Feedback = "full"
    """What the verifiers of both tasks say of a wrong reply."""


@dataclass(frozen=True)
class CardsAndWalks(Task):
    """GeneralPoints and V-IRL in text as one task, `gp-l-virl-l`.

    Description: the problems of both, as they are there, with their rewards, feedback and ends.
    Splits: those of each under its name (`gp-l-train`, `virl-l-rule-ood`), and those that both have, whose problems
        come from both in turn (`train`, `id`).
    Measured by `decision_accuracy`: of cards, the share of right first replies.
    Versions: 1.0 first release.
    """

    id: str = "gp-l-virl-l"
    metric: str = "decision_accuracy"
    feedback: Feedback = "full"
    names: ClassVar[tuple[str, ...]] = ("gp-l", "virl-l")
    options: ClassVar[type] = MixtureOptions

    @property
    def parts(self) -> tuple[Task, ...]:
        """Both tasks."""
        parts = [get_task(name) for name in self.names]
        return tuple(part.with_options(replace(part.options(), feedback=self.feedback)) for part in parts)

    @property
    def recipe(self) -> Recipe:
        """Presets that suit replies and turns of both; a study of one after the other takes those of each."""
        first, second = (get_task(name).recipe for name in self.names)
        longest = max(first.rl["tiny"].max_new_tokens, second.rl["tiny"].max_new_tokens)
        splits = [f"{name}-{split}" for name in self.names for split in ("id", "rule-ood")]
        return Recipe(
            "Cards and walks in text",
            sft={"tiny": replace(first.sft["tiny"], max_new_tokens=longest)},
            rl={"tiny": replace(first.rl["tiny"], max_new_tokens=longest)},
            measurement=Measurement(
                self.id, ("id", *splits), n=200, turns=(1, 2), max_new_tokens=longest, kl_problems=96
            ),
        )

    def with_options(self, options: MixtureOptions) -> Self:
        return replace(self, feedback=options.feedback)

    def splits(self) -> Mapping[str, str]:
        each = [part.splits() for part in self.parts]
        shared = [split for split in each[0] if all(split in splits for splits in each)]
        return {
            **{split: f"problems of both in turn: {each[0][split]}; {each[1][split]}" for split in shared},
            **{
                f"{n}-{split}": told
                for n, splits in zip(self.names, each, strict=True)
                for split, told in splits.items()
            },
        }

    def _place(self, split: str) -> tuple[tuple[Task, ...], str]:
        """The tasks that the problems of a split come from, and what it is called there. Raises RuleshiftError for an
        unknown one."""
        for part in self.parts:
            own = split.removeprefix(f"{part.id}-")
            if own != split and own in part.splits():
                return (part,), own
        check_split(self, split)
        return self.parts, split

    def count(self, split: str) -> int | None:
        parts, own = self._place(split)
        counts = [part.count(own) for part in parts]
        return None if None in counts else len(parts) * min(count for count in counts if count)

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> TaskProblem:
        parts, own = self._place(split)
        return parts[index % len(parts)].problem(own, seed, index // len(parts), style)
