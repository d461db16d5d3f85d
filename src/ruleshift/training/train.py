"""Post-training of either kind behind one call, so that studies and commands name no algorithm."""

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel

from ruleshift.chat import Chat
from ruleshift.runs import RunFolder
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.tasks.protocol import Style, Task
from ruleshift.training.flops import TokenCount
from ruleshift.training.ppo import PPO, train_ppo
from ruleshift.training.sft import train_sft


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
) -> None:
    """Train `model` in place in a run folder, from its last checkpoint if it has one.

    evaluate(steps made, tokens so far) is called after the steps listed in `at`, and may be called again for a step
    when a killed run resumes before it. progress(steps made, metrics) is called after every step.
    """
    if isinstance(config, SFTConfig):
        train_sft(model, chat, task, style, config, run, at, evaluate, progress)
        return
    ppo = PPO(model, chat, task, style, config)
    at_point = None if evaluate is None else lambda step, trained: evaluate(step, trained.tokens)
    train_ppo(ppo, run, at, at_point, progress)
