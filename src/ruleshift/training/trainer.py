"""TRL's SFTTrainer, whose checkpoints are whole, and give back all that they were made of."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel, TrainerState
from trl import SFTTrainer

from ruleshift.backbones.head import last_states
from ruleshift.chat import Chat
from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of
from ruleshift.metrics import diverged
from ruleshift.runs import Checkpoint, RunFolder
from ruleshift.settings import SFTConfig
from ruleshift.training.accounting import TokenCount
from ruleshift.training.batching import pack
from ruleshift.training.context import check_context
from ruleshift.training.optimizers import fits
from ruleshift.training.parts import LaggingCopy
from ruleshift.training.sft_losses import LAGGING, LOSSES
from ruleshift.training.sharding import Shards, divided_like, load_whole
from ruleshift.training.trajectories import Thrift, token_logprobs
from ruleshift.training.zero import Zero

# Beside the weights. Without one of these transformers' Trainer would resume, with other numbers.
STATE = "trainer_state.json"
RNG = "rng_state.pth"
NEEDED = ("optimizer.pt", "scheduler.pt", RNG, STATE)
DAMAGE = (SafetensorError, OSError, RuntimeError, UnpicklingError, EOFError, ValueError, TypeError, LookupError)


class Trainer(SFTTrainer):
    """Its checkpoints are those of the run folder: they appear whole or not at all, and the last ones stay.

    transformers' Trainer writes weights under the names that they have on the hub, reads them under those that they
    have in memory, and passes over what it does not find: for some families that is everything. Here they are written
    under the names in memory, and RuleshiftError is raised for a checkpoint that lacks anything, or is damaged.
    Diverged is raised before weights are kept that are not finite.
    """

    def __init__(self, run: RunFolder, config: SFTConfig, chat: Chat, shards: Shards, **more: Any) -> None:
        super().__init__(**more)
        self.run, self.config, self.chat, self.shards, self.processes = run, config, chat, shards, shards.processes
        self.thrift = Thrift(config.bf16, config.gradient_checkpointing)
        self._old = LaggingCopy(self.model) if config.loss in LAGGING else None  # type: ignore[arg-type]
        self.model_accepts_loss_kwargs = True  # has the labels of a whole step counted, for every family
        self._followed = -1  # the last step at which the old weights followed
        self._partial = run.checkpoints_path  # the folder that a checkpoint is written into
        self._whole: tuple[PreTrainedModel, dict[str, Any]] | None = None  # what it holds of model and optimiser

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a pass, in which all processes take part where the model is in pieces."""
        one = model if self.shards.root is None else self.model
        return self.shards.run(lambda: self.loss_of(one, inputs, num_items_in_batch))

    def loss_of(self, model: Any, inputs: Any, num_items_in_batch: Any) -> torch.Tensor:
        """That of `sft_losses` over the labels of a step."""
        labels = inputs["labels"][:, 1:]

        def states() -> torch.Tensor:
            return last_states(model, inputs["input_ids"])[:, :-1][labels != -100]

        return self.weighed(states, labels[labels != -100], num_items_in_batch)

    def weighed(self, states: Callable[[], torch.Tensor], tokens: torch.Tensor, items: Any) -> torch.Tensor:
        """The loss of a pass that gives the hidden `states` (T, H) before learned `tokens` (T,), as its part of `items`
        in a step."""
        old: torch.Tensor | None = None
        model: Any = self.model
        if self._old is not None:
            step = self.state.global_step
            if step != self._followed and step % self.config.loss_lag == 0:
                self._old.follow()
                self._followed = step
            with torch.no_grad(), self._old.in_place(), self.thrift.around(model):
                old = token_logprobs(model, states(), tokens)[0]
        with self.thrift.around(model):
            logprobs, _ = token_logprobs(model, states(), tokens)
        losses = LOSSES[self.config.loss](logprobs, old, self.config)
        # The gradients of several processes are averaged, while `items` are those of all.
        return losses.sum() * self.processes.world / (len(tokens) if items is None else items)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Passes of at most `max_tokens` padded tokens over a batch, whose gradients add up. Several processes make as
        many, the last of which may learn nothing, and bring their gradients together in the last one."""
        lengths = inputs["attention_mask"].sum(1).tolist()
        check_context(self.model, lengths, "lessons")  # type: ignore[arg-type]
        groups = pack(lengths, self.config.max_tokens)
        parts = [_some(inputs, group, max(lengths[i] for i in group)) for group in groups]
        parts += [_nothing(inputs)] * (max(self.processes.gather(len(parts))) - len(parts))
        losses = []
        for number, part in enumerate(parts, 1):
            last = number == len(parts) or self.shards.root is not None
            with nullcontext() if last else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, part, num_items_in_batch))
        return torch.stack(losses).sum()

    def count(self, tokens: int) -> TokenCount:
        """What was processed so far, `tokens` of it in passes that learn."""
        return TokenCount(tokens, 0 if self._old is None else tokens)

    def finish(self, last: Checkpoint | None) -> None:
        """Train to the last step, from a checkpoint if there is one."""
        if last is not None:
            _check(last)
        if last is not None and last.step >= self.args.max_steps:  # the Trainer would make one step more
            self._load_from_checkpoint(str(last.path))
        else:
            self.train(resume_from_checkpoint=None if last is None else str(last.path))

    def refuse_divergence(self) -> None:
        """Raise Diverged if a weight is not finite, or so large that its square is not."""
        model: Any = self.model
        if not all(bool(weight.detach().float().square().sum().isfinite()) for weight in model.parameters()):
            raise diverged(self.run.path, self.state.global_step, "the weights are not finite")

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            whole, learned = super().create_optimizer(model), [p for p in self.model.parameters() if p.requires_grad]  # type: ignore[union-attr]
            self.optimizer = self.shards.adopt(whole, learned, self.args.max_grad_norm)
        return self.optimizer

    def _clip_grad_norm(self, model: Any) -> Any:
        if not isinstance(self.shards.root, Zero):
            return super()._clip_grad_norm(model)
        return torch.tensor(self.shards.clip([], self.args.max_grad_norm))

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        """A model of whose passes others know already is not wrapped again."""
        return super()._wrap_model(model, training, dataloader) if self.shards.root is None else self.shards.root

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._partial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.refuse_divergence()
        optimizer: Any = self.optimizer
        self._whole = self.shards.whole(), self.shards.kept(optimizer.state_dict())

        def write(folder: Path) -> None:
            self._partial = folder
            super(Trainer, self)._save_checkpoint(model, trial)
            (inner,) = folder.iterdir()  # named after the step, as the run folder does
            for file in list(inner.iterdir()):
                file.rename(folder / file.name)
            inner.rmdir()
            if self.processes.world > 1:  # a name for each process, of which one writes
                (folder / "rng_state_0.pth").rename(folder / RNG)

        self.run.save_checkpoint(self.state.global_step, write, keep_last=self.config.checkpoints)
        self._whole = None

    def store_flos(self) -> None:
        """Several processes would have to add theirs up, while only one of them saves. Ours are in `accounting`."""
        if self.processes.world == 1:
            super().store_flos()

    def create_model_card(self, *arguments: Any, **more: Any) -> None:
        """None: a run folder holds what its page in the documentation says."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self.args.should_save and self._whole is not None:
            folder, model = str(output_dir or self.args.output_dir), self._whole[0]
            model.save_pretrained(folder, state_dict=state_dict, save_original_format=False)
            self.chat.source.save_pretrained(folder)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self._whole is None or self.shards.root is None:
            with _full_disk():
                super()._save_optimizer_and_scheduler(output_dir)
            return
        scheduler: Any = self.lr_scheduler
        for name, state in (("optimizer.pt", self._whole[1]), ("scheduler.pt", scheduler.state_dict())):
            with _full_disk():
                torch.save(state, Path(output_dir) / name)

    def _save_rng_state(self, output_dir: str) -> None:
        with _full_disk():
            super()._save_rng_state(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *rest: Any, **more: Any) -> None:
        with _damage_of(resume_from_checkpoint):
            if self.shards.root is None:
                super()._load_from_checkpoint(resume_from_checkpoint, *rest, **more)
                return
            files = sorted(Path(resume_from_checkpoint).glob("*.safetensors"))
            tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
            self._issue_warnings_after_load(load_whole(self.model, tensors, strict=False))  # type: ignore[arg-type]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with _damage_of(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            optimizer: Any = self.optimizer
            if not all(fits(weight, moments) for weight, moments in optimizer.state.items()):
                raise ValueError("optimizer.pt is of another model")
            for weight, moments in optimizer.state.items():
                moments |= {key: divided_like(value, weight) for key, value in moments.items()}

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """The state of the generators that dropout draws from, which several processes do not share: they go on with
        those of the seed."""
        if self.processes.world > 1:
            return
        with _damage_of(checkpoint):
            super()._load_rng_state(checkpoint)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        model: Any = self.model
        lost = (
            set(load_result.missing_keys) - set(model.all_tied_weights_keys) - set(model._keys_to_ignore_on_save or ())
        )
        if lost or load_result.unexpected_keys:
            raise ValueError(
                f"it lacks {len(lost)} of the model's weights and has {len(load_result.unexpected_keys)} of others"
            )
        model.tie_weights()


def _some(inputs: Mapping[str, Any], rows: Sequence[int], width: int) -> dict[str, Any]:
    """These rows of a batch, without the padding that none of them needs."""
    return {
        name: value[list(rows), :width] if isinstance(value, torch.Tensor) else [value[i] for i in rows]
        for name, value in inputs.items()
    }


def _nothing(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Part of a batch from which nothing is learned, and in which nothing is seen."""
    part = _some(inputs, [0], 2)
    seen = {"pictures": [()]} if "pictures" in part else {}
    return {**part, "labels": torch.full_like(part["labels"], -100), **seen}


def _check(last: Checkpoint) -> None:
    """Raise RuleshiftError for a checkpoint that lacks what the next step depends on."""
    with _damage_of(str(last.path)):
        for name in NEEDED:
            if not (last.path / name).is_file():
                raise ValueError(f"{name} is missing")
        state = TrainerState.load_from_json(str(last.path / STATE))
        if state.global_step != last.step or not isinstance(state.num_input_tokens_seen, int):
            raise ValueError(f"{STATE} is of another step, or of something else")


@contextmanager
def _full_disk() -> Iterator[None]:
    """What torch raises when it cannot write, as the OSError that it is."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(reason_of(error)) from error


@contextmanager
def _damage_of(checkpoint: str | None) -> Iterator[None]:
    """What libraries raise for a file that is cut short or changed, as a RuleshiftError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of pickles that it then refuses
            yield
    except DAMAGE as error:
        # torch's own words advise to open it all the same.
        refused = isinstance(error, UnpicklingError) or "weights_only" in str(error)
        reason = "a file in it holds more than numbers and is not opened" if refused else reason_of(error)
        raise RuleshiftError(
            f"the checkpoint {checkpoint} is damaged ({reason}): delete its folder and run the same command again, "
            "which resumes from the one before it, or starts anew where there is none"
        ) from error
