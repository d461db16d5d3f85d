"""Supervised fine-tuning on expert replies, with TRL's SFTTrainer; the loss is on reply tokens only."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from datasets import Dataset
from torch import nn
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTConfig as TrlConfig

from ruleshift.chat import Chat, Sequences, encode_dialogue
from ruleshift.engines.text import expert_messages
from ruleshift.errors import RuleshiftError
from ruleshift.runs import RunFolder
from ruleshift.settings import SFTConfig
from ruleshift.tasks.protocol import Style, Task
from ruleshift.training.accounting import TokenCount
from ruleshift.training.parts import choose
from ruleshift.training.sft_pictures import Collator, PictureTrainer, labels_of
from ruleshift.training.trainer import Trainer


def expert_conversation(chat: Chat, task: Task, style: Style, split: str, seed: int, index: int) -> Sequences:
    """One problem with its gold replies, as token ids with the mask of the replies."""
    return encode_dialogue(chat, expert_messages(task.problem(split, seed, index, style)))


def expert_dataset(chat: Chat, task: Task, style: Style, config: SFTConfig) -> Dataset:
    """Columns `input_ids` and `labels` (-100 off the replies), which SFTTrainer takes as they are; for a chat that sees
    the `index` of the problem alone (see `sft_pictures`)."""
    if chat.eye is not None:
        return Dataset.from_dict({"index": range(config.examples)})
    rows = [
        expert_conversation(chat, task, style, config.split, config.seed, index) for index in range(config.examples)
    ]
    return Dataset.from_dict(
        {"input_ids": [list(row.token_ids) for row in rows], "labels": [labels_of(row) for row in rows]}
    )


@contextmanager
def own_forward(model: nn.Module) -> Iterator[None]:
    """The model without what the Trainer's libraries put in the place of its forward pass, so that whoever samples from
    it takes the way, to the last digit, that it takes once the model is loaded again."""
    wrapped = vars(model).pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped


class _Steps(TrainerCallback):
    """Streams metrics, counts tokens, and evaluates at given steps, once it is sure that these are finite."""

    def __init__(
        self,
        run: RunFolder,
        at: Sequence[int],
        evaluate: Callable[[int, TokenCount], None] | None,
        progress: Callable[[int, dict[str, float]], object] | None,
        trainer: Trainer,
    ) -> None:
        self.run, self.at, self.evaluate, self.progress = run, at, evaluate, progress
        self.trainer = trainer

    def _count(self, state: TrainerState) -> TokenCount:
        tokens = int(state.num_input_tokens_seen)
        return self.trainer.count(tokens) if isinstance(self.trainer, PictureTrainer) else TokenCount(tokens)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        if logs and "loss" in logs:
            kept: dict[str, float] = {key: logs[key] for key in ("loss", "grad_norm", "learning_rate") if key in logs}
            record: dict[str, float] = {**kept, "tokens": int(state.num_input_tokens_seen)}
            if isinstance(self.trainer, PictureTrainer):
                record["patches"] = self.trainer.patches
            self.run.append_metrics({"step": state.global_step, **record})
            if self.evaluate is not None and state.global_step in self.at:
                self.trainer.refuse_divergence()
                model: Any = self.trainer.model
                with own_forward(model):
                    self.evaluate(state.global_step, self._count(state))
            if self.progress is not None:
                self.progress(state.global_step, record)


def train_sft(
    model: PreTrainedModel,
    chat: Chat,
    task: Task,
    style: Style,
    config: SFTConfig,
    run: RunFolder,
    at: Sequence[int] = (),
    evaluate: Callable[[int, TokenCount], None] | None = None,
    progress: Callable[[int, dict[str, float]], object] | None = None,
) -> None:
    """Train `model` in place in a run folder, from its last checkpoint if it has one.

    evaluate(steps made, tokens so far) is called after the steps listed in `at` (and may be called again for a step
    when a killed run resumes before it). A checkpoint holds what transformers' Trainer keeps in one. Raises Diverged
    once loss, gradient or weights are not finite, before a metric or a weight of that kind is written.
    """
    micro_batch = min(config.micro_batch, config.batch)
    if config.batch % micro_batch:
        raise RuleshiftError(f"--batch {config.batch} is not a multiple of --micro-batch {micro_batch}: change either")
    arguments = TrlConfig(
        output_dir=str(run.checkpoints_path),
        max_steps=config.steps,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=config.batch // micro_batch,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=int(config.warmup_share * config.steps),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        data_seed=config.seed,
        max_length=None,
        logging_steps=1,
        include_num_input_tokens_seen="non_padding",
        save_steps=config.save_every,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=model.device.type == "cpu",
        bf16=False,
        gradient_checkpointing=None,  # type: ignore[arg-type]  # off; False would have newer versions say that the name is deprecated
        dataloader_pin_memory=False,
        remove_unused_columns=chat.eye is None,
        dataset_kwargs=None if chat.eye is None else {"skip_prepare_dataset": True},
    )
    if arguments.n_gpu > 1:  # the model is on one of them
        arguments._n_gpu = 1
    choose(model, config.train_parts, config.lora_rank, config.seed)
    last = run.latest_checkpoint()
    run.truncate_metrics(0 if last is None else last.step)
    given = {
        "run": run,
        "model": model,
        "args": arguments,
        "train_dataset": expert_dataset(chat, task, style, config),
        "processing_class": chat.tokenizer,
    }
    if chat.eye is None:
        trainer = Trainer(**given)
    else:

        def conversation(index: int) -> Sequences:
            return expert_conversation(chat, task, style, config.split, config.seed, index)

        looked = [int(line.get("patches", 0)) for line in run.read_metrics()]
        trainer = PictureTrainer(chat, sum(looked[-1:]), data_collator=Collator(chat, conversation), **given)
    trainer.add_callback(_Steps(run, at, evaluate, progress, trainer))
    trainer.remove_callback(PrinterCallback)  # it would print every step over our progress bar
    trainer.finish(last)
    vars(model).pop("forward", None)  # see `own_forward`
    model.eval()
