"""reasoning-gym: `reasoning_gym.create_dataset("ruleshift", task="gp-l", split="train", seed=0, size=500)`.

Importing this module registers the dataset. Its questions are first prompts, and an answer is one reply: 1 where the
verifier is satisfied with it, else 0. Tasks in pictures are refused, since its questions are text.
"""

from dataclasses import dataclass
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.integrations.places import ProblemRef, needs, say
from ruleshift.tasks.protocol import Style, check_split

needs("reasoning_gym", "reasoning-gym")
from reasoning_gym.factory import ProceduralDataset, register_dataset  # noqa: E402


@dataclass
class ProblemsConfig:
    """Which problems."""

    task: str = "gp-l"
    split: str = "train"
    style: Style = "full"
    seed: int = 0
    size: int = 500

    def validate(self) -> None:
        """Raises RuleshiftError for what there is not, or cannot be asked in text."""
        task = ProblemRef(self.task, self.split, style=self.style).open_task()
        check_split(task, self.split)
        if task.pictures:
            raise RuleshiftError(f"{self.task} shows pictures, and reasoning-gym asks in text: take gp-l or virl-l")


class Problems(ProceduralDataset):
    """The problems of a split."""

    def __init__(self, config: ProblemsConfig) -> None:
        super().__init__(config=config, seed=config.seed, size=config.size)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        config = self.config
        place = ProblemRef(config.task, config.split, config.seed, idx, config.style, 1)
        problem = place.problem()
        metadata = {"source_dataset": "ruleshift", "source_index": idx, **place.row()}
        return {"question": problem.context()[0].content, "answer": problem.gold(), "metadata": metadata}

    def score_answer(self, answer: str | None, entry: dict[str, Any]) -> float:
        verdict = say(ProblemRef.of(entry["metadata"]).conversation(), answer or "")
        return float(verdict.solved or verdict.advanced)


register_dataset("ruleshift", Problems, ProblemsConfig)
