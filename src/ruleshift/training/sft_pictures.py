"""What SFT needs for conversations with pictures: batches that hold them, and a trainer whose pass sees them.

A row of the dataset has no pictures but the index of its problem: they are drawn again when the row is used, so that
memory holds those of one pass (`micro_batch` conversations) and no more.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from trl import SFTTrainer

from ruleshift.backbones.vision import patches, read, view_of
from ruleshift.chat import Chat
from ruleshift.errors import RuleshiftError
from ruleshift.records import Picture
from ruleshift.training.batching import pad
from ruleshift.training.flops import TokenCount
from ruleshift.training.parts import learns


@dataclass(frozen=True)
class Collator:
    """Rows with `input_ids`, `labels` and `index` as a padded batch with the pictures of each conversation."""

    chat: Chat
    pictures: Callable[[int], Sequence[Picture]]

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "input_ids": pad([row["input_ids"] for row in rows], self.chat.pad_id, torch.long),
            "labels": pad([row["labels"] for row in rows], -100, torch.long),
            "attention_mask": pad([[1] * len(row["input_ids"]) for row in rows], 0, torch.long),
            "pictures": [self.pictures(row["index"]) for row in rows],
        }


class PictureTrainer(SFTTrainer):
    """SFTTrainer with a pass of our own: features stand in the places of prompts and feedback, and the loss is the mean
    cross-entropy of the labels of a step, as in SFTTrainer. Only in one process: others would not share gradients.
    `patches` counts what the tower has looked at, from what it had at the last checkpoint."""

    def __init__(self, chat: Chat, patches: int, **more: Any) -> None:
        super().__init__(**more)
        if self.accelerator.num_processes > 1:
            raise RuleshiftError("SFT on pictures runs in one process: start it without accelerate launch or torchrun")
        self.chat, self.patches = chat, patches
        self.model_accepts_loss_kwargs = True  # has the labels of a whole step counted, for every family

    def count(self, tokens: int) -> TokenCount:
        """What was processed so far, `tokens` of it by the decoder."""
        learned = learns(self.model, "tower")  # type: ignore[arg-type]
        return TokenCount(tokens, 0, self.patches * learned, self.patches * (not learned))

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        ids, labels, pictures = inputs["input_ids"], inputs["labels"][:, 1:], inputs["pictures"]  # (B, T), (B, T-1)
        given = (inputs["attention_mask"] > 0) & (inputs["labels"] == -100)
        eye = self.chat.eye
        assert eye is not None
        hidden = read(model, ids, view_of(model, eye, ids, given, pictures), use_cache=False)[:, :-1]
        learned = labels != -100
        logits = model.get_output_embeddings()(hidden[learned]).float()
        self.patches += sum(patches(model, eye, of_row) for of_row in pictures)
        items = learned.sum() if num_items_in_batch is None else num_items_in_batch
        return cross_entropy(logits, labels[learned], reduction="sum") / items
