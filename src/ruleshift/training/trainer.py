"""TRL's SFTTrainer, whose checkpoints give back the weights that they were made of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError
from trl import SFTTrainer

from ruleshift.errors import RuleshiftError


class Trainer(SFTTrainer):
    """transformers' Trainer writes checkpoints under the names that weights have on the hub, reads them under those
    that they have in memory, and passes over what it does not find: for some families that is everything. Here they
    are written under the names in memory, and RuleshiftError is raised for a checkpoint that lacks any, or is
    damaged."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self.args.should_save:
            folder = output_dir or self.args.output_dir
            model: Any = self.model
            tokenizer: Any = self.processing_class
            model.save_pretrained(folder, state_dict=state_dict, save_original_format=False)
            tokenizer.save_pretrained(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *rest: Any, **more: Any) -> None:
        with _damage_of(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, *rest, **more)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with _damage_of(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with _damage_of(checkpoint):
            super()._load_rng_state(checkpoint)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        model: Any = self.model
        lost = (
            set(load_result.missing_keys) - set(model.all_tied_weights_keys) - set(model._keys_to_ignore_on_save or ())
        )
        if lost or load_result.unexpected_keys:
            raise RuleshiftError(
                f"the checkpoint in {self.args.output_dir} lacks {len(lost)} of the model's weights and has "
                f"{len(load_result.unexpected_keys)} of others: start again in another folder"
            )
        model.tie_weights()


@contextmanager
def _damage_of(checkpoint: str | None) -> Iterator[None]:
    """What libraries raise for a file that is cut short or changed, as a RuleshiftError."""
    try:
        yield
    except (SafetensorError, OSError, RuntimeError, UnpicklingError, EOFError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RuleshiftError(
            f"the checkpoint {checkpoint} is damaged ({reason}): delete its folder and run the same command again, "
            "which resumes from the one before it"
        ) from error
