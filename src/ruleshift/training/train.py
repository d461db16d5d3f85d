"""Post-training of either kind behind one call, so that studies and commands name no algorithm."""

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel

from ruleshift.chat import Chat
from ruleshift.runs import RunFolder
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.tasks.protocol import Style, Task
from ruleshift.training.accounting import TokenCount
from ruleshift.training.processes import ALONE, Processes
from ruleshift.training.rl import RL, train_rl
from ruleshift.training.rollout import Rollout, local_engine
from ruleshift.training.sft import train_sft
from ruleshift.training.teachers import load_teacher
from ruleshift.training.watch import Watch


def train(
    config: SFTConfig | RLConfig,
    model: PreTrainedModel,
    chat: Chat,
    task: Task,
    style: Style,
    run: RunFolder,
    at: Sequence[int] = (),
    evaluate: Callable[[int, TokenCount], None] | None = None,
    progress: Callable[[int, dict[str, float]], object] | None = None,
    watched: bool = False,
    teacher: PreTrainedModel | None = None,
    processes: Processes = ALONE,
) -> PreTrainedModel:
    """Train `model` in place in a run folder, from its last checkpoint if it has one. Returns it; where it is divided
    among processes, a whole copy in the one that writes.

    evaluate(steps made, tokens so far) is called after the steps listed in `at`, and may be called again for a step
    when a killed run resumes before it. progress(steps made, metrics) is called after every step. watched: a sample of
    the episodes that RL learns from is kept in the run folder. teacher: the model that guides, where another one does;
    loaded here where it is not given. processes: this one among others that train the same model; `run` is then what
    `Processes.folder` gives, and neither `evaluate` nor `watched` is for several.
    """
    if isinstance(config, SFTConfig):
        return train_sft(model, chat, task, style, config, run, at, evaluate, progress, processes)
    rollout = Rollout(task, style, config, local_engine(model, chat, config), processes)
    watch = Watch(run.path) if watched else None
    rl = RL(model, chat, rollout, watch, teacher or load_teacher(config, chat, task.pictures))
    at_point = None if evaluate is None else lambda step, trained: evaluate(step, trained.learner.account.tokens)
    train_rl(rl, run, at, at_point, progress)
    return rl.learner.shards.whole()
