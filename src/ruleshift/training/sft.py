"""Supervised fine-tuning with TRL's SFTTrainer; the loss is on tokens of replies only, those that `sft_data` names."""

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

from ruleshift.backbones.head import check_head
from ruleshift.chat import Chat
from ruleshift.runs import SAMPLES, RunFolder
from ruleshift.settings import SFTConfig
from ruleshift.tasks.protocol import Style, Task
from ruleshift.training.accounting import TokenCount
from ruleshift.training.optimizers import check_8bit
from ruleshift.training.parts import check_recompute, choose, recomputes
from ruleshift.training.processes import ALONE, Processes
from ruleshift.training.room import room_to_learn, room_to_sample
from ruleshift.training.sft_data import data_of
from ruleshift.training.sft_lessons import Lessons, taught
from ruleshift.training.sft_pictures import Collator, PictureTrainer
from ruleshift.training.sft_samples import is_kept, is_sliced, pass_rates, sample
from ruleshift.training.sharding import Shards
from ruleshift.training.trainer import Trainer

LOOKED_AT = 64  # conversations, for the longest, where memory runs out


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
        lessons: Lessons,
    ) -> None:
        self.run, self.at, self.evaluate, self.progress = run, at, evaluate, progress
        self.trainer, self.lessons = trainer, lessons

    def _count(self, state: TrainerState) -> TokenCount:
        tokens = int(state.num_input_tokens_seen)
        return self.trainer.count(tokens) + self.lessons.sampling(state.global_step)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Take back the padding that the Trainer noted, where the model has no embedding of it: such a configuration
        describes no model."""
        model: Any = self.trainer.model
        config = model.config.get_text_config()
        if (getattr(config, "pad_token_id", None) or 0) >= config.vocab_size:
            config.pad_token_id = None

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
            if self.lessons.taken.forward:
                record["sampling_tokens"] = self.lessons.sampling(state.global_step).forward
            self.run.append_metrics({"step": state.global_step, **record})
            if self.evaluate is not None and state.global_step in self.at:
                self.trainer.refuse_divergence()
                model: Any = self.trainer.model
                with own_forward(model):
                    self.evaluate(state.global_step, self._count(state))
            if self.progress is not None:
                self.progress(state.global_step, record)


def _lessons(
    model: PreTrainedModel,
    chat: Chat,
    task: Task,
    style: Style,
    config: SFTConfig,
    run: RunFolder,
    progress: Callable[[int, dict[str, float]], object] | None,
    processes: Processes,
) -> Lessons:
    """What is learned from: of the start model's own conversations, where that is asked for, those that the run folder
    lacks are sampled first."""

    def follow(done: int, count: int) -> None:
        if progress is not None:
            progress(0, {"sampled": done, "problems": count})

    of_start = (model, chat, task, style, config, run.path / SAMPLES, follow, processes)
    rates = pass_rates(*of_start) if is_sliced(config) else None
    samples = sample(*of_start) if data_of(config).sampled else None
    if (samples or rates) and not run.read_metrics():
        metrics = dict(samples.metrics) if samples else {}
        generated = metrics.get("generated_tokens", 0.0) + (rates.generated if rates else 0)
        drawn = metrics.get("problems", 0.0) + (len(rates.shares) * config.pass_samples if rates else 0)
        run.append_metrics({"step": 0, **metrics, "generated_tokens": generated, "drawn_episodes": drawn})
    return Lessons(chat, task, style, config, samples, rates)


def lessons_again(
    model: PreTrainedModel, chat: Chat, task: Task, style: Style, config: SFTConfig, run: RunFolder
) -> Lessons | None:
    """What a training in this folder learned from, made again: `model` samples nothing. None where something was
    sampled for it that is not there any more."""
    if not is_kept(config, run.path / SAMPLES):
        return None
    return _lessons(model, chat, task, style, config, run, None, ALONE)


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
    processes: Processes = ALONE,
) -> PreTrainedModel:
    """Train `model` in place in a run folder, from its last checkpoint if it has one. Returns it, or where it is in
    pieces a whole copy in the process that writes.

    Where `config.data` asks for it, `model` first replies to the problems itself, as it is: a start model. progress is
    then called with step 0, and how many were `sampled` of how many `problems`.
    Each of several processes takes a share of every batch, and one of them writes.
    evaluate(steps made, tokens so far) is called after the steps listed in `at` (and may be called again for a step
    when a killed run resumes before it). A checkpoint holds what transformers' Trainer keeps in one. Raises Diverged
    once loss, gradient or weights are not finite, before a metric or a weight of that kind is written.
    """
    micro_batch = config.micro_batch_in(processes.world)
    arguments = TrlConfig(
        output_dir=str(run.checkpoints_path),
        max_steps=config.steps,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=config.batch // (micro_batch * processes.world),
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=int(config.warmup_share * config.steps),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        data_seed=config.seed,
        max_length=None,
        router_aux_loss_coef=0.0,  # of mixtures of experts; our losses have no such term
        logging_steps=1,
        include_num_input_tokens_seen="non_padding",
        save_steps=config.save_every,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=model.device.type == "cpu",
        bf16=False,  # `Trainer` sees to this and the next
        gradient_checkpointing=None,  # type: ignore[arg-type]  # off; False would have newer versions say that the name is deprecated
        optim="adamw_bnb_8bit" if config.adam_8bit else TrlConfig.optim,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    if arguments.n_gpu > 1:  # the model is on one of them
        arguments._n_gpu = 1
    check_8bit(config.adam_8bit)
    check_recompute(model, config.gradient_checkpointing)
    with room_to_sample(config):
        lessons = _lessons(model, chat, task, style, config, run, progress, processes)
    choose(model, config.train_parts, config.lora_rank, config.seed)
    if chat.eye is None:
        check_head(model)
    shards = Shards.of(model, config, processes, mean=True)
    last = run.latest_checkpoint()
    run.truncate_metrics(0 if last is None else last.step)
    given = {
        "run": run,
        "config": config,
        "chat": chat,
        "shards": shards,
        "model": model,
        "args": arguments,
        "train_dataset": Dataset.from_dict({"index": lessons.rows}),
        "data_collator": Collator(chat, lessons),
        "processing_class": chat.tokenizer,
    }
    looked = [int(line.get("patches", 0)) for line in run.read_metrics()]
    trainer = Trainer(**given) if chat.eye is None else PictureTrainer(sum(looked[-1:]), **given)
    trainer.add_callback(_Steps(run, at, evaluate, progress, trainer, lessons))
    trainer.remove_callback(PrinterCallback)  # it would print every step over our progress bar
    looked_at = (taught(lessons[row]) for row in lessons.rows[:LOOKED_AT])
    with room_to_learn(config, looked_at, recomputes(model)):
        trainer.finish(last)
    vars(model).pop("forward", None)  # see `own_forward`
    model.eval()
    return shards.whole()
