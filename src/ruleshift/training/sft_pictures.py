"""What SFT makes batches of, and a trainer whose pass sees pictures.

A row of the dataset is the index of its problem: ids and pictures are made when the row is used, so that memory holds
the pictures of one optimiser step, and features and gradients those of one pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ruleshift.backbones.vision import patches, read, view_of
from ruleshift.chat import Chat
from ruleshift.training.accounting import TokenCount
from ruleshift.training.batching import pad
from ruleshift.training.parts import learns
from ruleshift.training.sft_lessons import Lessons
from ruleshift.training.trainer import Trainer


@dataclass(frozen=True)
class Collator:
    """Rows with the `index` of a conversation as a padded batch: (B, T) each, and where the chat sees, the `pictures`
    of each with the tokens that nobody replied (`given`), among which their placeholders are."""

    chat: Chat
    lessons: Lessons

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        lessons = [self.lessons[row["index"]] for row in rows]
        said = [lesson.said for lesson in lessons]
        batch: dict[str, Any] = {
            "input_ids": pad([one.token_ids for one in said], 0, torch.long),
            "labels": pad([lesson.labels for lesson in lessons], -100, torch.long),
            "attention_mask": pad([[1] * len(one.token_ids) for one in said], 0, torch.long),
        }
        if self.chat.eye is not None:
            batch["given"] = pad([[1 - reply for reply in one.reply_mask] for one in said], 0, torch.long) > 0
            batch["pictures"] = [one.pictures for one in said]
        return batch


class PictureTrainer(Trainer):
    """Trainer whose pass sees: features stand in the places of prompts and feedback. It goes around what accelerate
    wraps the model in, and shares the gradients of several processes itself. `patches` counts what their towers have
    looked at, from what it was at the last checkpoint."""

    def __init__(self, patches: int, **more: Any) -> None:
        super().__init__(**more)
        self.patches = patches
        self._looked = 0  # patches of this process since they were last added up

    def count(self, tokens: int) -> TokenCount:
        learned = learns(self.model, "tower")  # type: ignore[arg-type]
        again = 0 if self._old is None else self.patches
        return super().count(tokens) + TokenCount(0, 0, self.patches * learned, self.patches * (not learned) + again)

    def loss_of(self, model: Any, inputs: Any, num_items_in_batch: Any) -> torch.Tensor:
        model = self.model
        ids, labels, pictures = inputs["input_ids"], inputs["labels"][:, 1:], inputs["pictures"]  # (B, T), (B, T-1)
        eye = self.chat.eye
        assert eye is not None
        learned = labels != -100

        def states() -> torch.Tensor:
            view = view_of(model, eye, ids, inputs["given"], pictures)
            return read(model, ids, view, use_cache=False)[:, :-1][learned]

        self._looked += sum(patches(model, eye, of_row) for of_row in pictures)
        return self.weighed(states, labels[learned], num_items_in_batch)

    def training_step(self, *arguments: Any, **more: Any) -> torch.Tensor:
        """A pass and its gradient; after the last one of a step, those of all processes are brought together."""
        loss = super().training_step(*arguments, **more)
        if self.accelerator.sync_gradients:
            learning = [weight for weight in self.model.parameters() if weight.requires_grad]  # type: ignore[union-attr]
            self.shards.share_gradients(learning, mean=True)
            self.patches += sum(self.processes.gather(self._looked))
            self._looked = 0
        return loss
