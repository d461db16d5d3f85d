"""From the name after `--model` to something that answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ruleshift.backbones.config import API, INSIDERS, NAMED, AnyStyle, ModelOptions
from ruleshift.backbones.given import check_model
from ruleshift.bounds import above_zero, at_least
from ruleshift.commands.checks import check_threads
from ruleshift.commands.serving import NO_BUDGET, Serving, open_model
from ruleshift.engines.spending import Budget
from ruleshift.errors import RuleshiftError
from ruleshift.tasks.protocol import Style

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ruleshift.engines.api import ApiModel
    from ruleshift.engines.protocol import Responder

ModelArguments = tyro.conf.FlagCreatePairsOff[Annotated[ModelOptions, tyro.conf.arg(name="")]]
Decoding = Literal["greedy", "sampled"]
REPLY_TOKENS = {"full": 512, "terse": 48, "varied": 512, "stepwise": 128, "full-stepwise": 768}


@dataclass(frozen=True)
class Policy:
    """Who answers, the prompt style it is shown, and what else its prompts depend on (`Chat.facts`). `remote` is the
    model behind a server, `local` the one in this process: of others neither."""

    engine: "Responder"
    style: Style
    facts: Mapping[str, str] = field(default_factory=dict)
    remote: "ApiModel | None" = None
    local: "PreTrainedModel | None" = None

    def fingerprint(self) -> str | None:
        """That of the weights, for models in this process."""
        if self.local is None:
            return None
        from ruleshift.backbones.fingerprint import fingerprint

        return fingerprint(self.local)


@dataclass(frozen=True)
class Thinking:
    """Whether a model that can think before it answers does."""

    thinking: Literal["off", "on"] = "off"
    """Let a model that can think before it answers do so (templates with <think>)."""
    thinking_tokens: int = 1024
    """Longest thought, in tokens, on top of the longest reply; one that is not done by then is closed."""


ThinkingArguments = Annotated[Thinking, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Drawing:
    """How replies are drawn."""

    decoding: Decoding = "greedy"
    """How replies are drawn."""
    temperature: float = 1.0
    """Sampling temperature."""
    max_new_tokens: int | None = None
    """Longest reply, in tokens; by default 48 in the terse style, 128 with its work shown, 512 and 768 in others."""
    batch_size: int = 256
    """Conversations held at once."""
    seed: int = 0
    """Seed of the deals and of the draws."""
    threads: int | None = None
    """Cores to compute on; by default those that are free."""

    def check(self) -> None:
        """Raise RuleshiftError for settings that nothing can be drawn with."""
        at_least("--batch-size", self.batch_size, 1)
        at_least("--seed", self.seed, 0)
        if self.max_new_tokens is not None:
            at_least("--max-new-tokens", self.max_new_tokens, 1)
        above_zero("--temperature", self.temperature)
        check_threads(self.threads)


DrawingArguments = Annotated[Drawing, tyro.conf.arg(name="")]


def open_policy(
    model: str,
    style: AnyStyle,
    drawing: Drawing,
    pictures: bool = False,
    options: ModelOptions = ModelOptions(),  # noqa: B008
    thinking: Thinking = Thinking(),
    serving: Serving = Serving(),  # noqa: B008
    budget: Budget = NO_BUDGET,
) -> Policy:
    """The policy called `model`: expert, random, blind, bundled, smollm2, a folder, a hub id, or api:NAME. pictures:
    whether it must see."""
    if model == "none":
        raise RuleshiftError(
            "--model none answers nothing here; choose bundled, smollm2, expert, random, blind, a folder, a hub id or "
            "api:NAME"
        )
    at_least("--thinking-tokens", thinking.thinking_tokens, 1)
    if model.startswith(API):
        return _remote(model.removeprefix(API), style, drawing, options, thinking, serving, budget)
    if (serving, budget) != (Serving(), NO_BUDGET):
        raise RuleshiftError(
            f"--model {model} is behind no server: leave --base-url and its like out, or name api:NAME"
        )
    from ruleshift.engines.text import insider

    if model in INSIDERS:
        if (options, thinking) != (ModelOptions(), Thinking()):
            raise RuleshiftError(f"--model {model} is no language model: leave {_given(options, thinking)} out")
        return Policy(insider(model, drawing.seed), _chosen(style, "full"))
    if model not in NAMED:
        check_model(model, INSIDERS)

    from ruleshift.backbones.load import load_backbone
    from ruleshift.engines.local import LocalEngine
    from ruleshift.engines.protocol import Sampling
    from ruleshift.quiet import quiet_libraries
    from ruleshift.threads import set_threads

    quiet_libraries()
    set_threads(drawing.threads)
    thinks = thinking.thinking == "on"
    backbone = load_backbone(model, pictures=pictures, options=options, thinking=thinks, style=style)
    chosen = backbone.style
    temperature = drawing.temperature if drawing.decoding == "sampled" else 0.0
    thought = thinking.thinking_tokens if thinks else 0
    sampling = Sampling(temperature, drawing.max_new_tokens or REPLY_TOKENS[chosen], drawing.seed, thought)
    engine = LocalEngine(backbone.model, backbone.chat, sampling, drawing.batch_size)
    facts = {**backbone.chat.facts, **({"thinking_tokens": str(thought)} if thinks else {})}
    return Policy(engine, chosen, facts, local=backbone.model)


def _given(*groups: ModelOptions | Thinking) -> str:
    """The options among these that are not what they are by default: "--system and --thinking"."""
    names = [one.name for group in groups for one in fields(group) if getattr(group, one.name) != one.default]
    return " and ".join(f"--{name.replace('_', '-')}" for name in names)


def _remote(
    name: str,
    style: AnyStyle,
    drawing: Drawing,
    options: ModelOptions,
    thinking: Thinking,
    serving: Serving,
    budget: Budget,
) -> Policy:
    from ruleshift.engines.protocol import Sampling

    if options != ModelOptions(system=options.system):
        given = _given(replace(options, system=None))
        raise RuleshiftError(f"a model behind a server is prepared there: leave {given} out")
    chosen = _chosen(style, "full")
    thought = thinking.thinking_tokens if thinking.thinking == "on" else 0
    temperature = drawing.temperature if drawing.decoding == "sampled" else 0.0
    sampling = Sampling(temperature, drawing.max_new_tokens or REPLY_TOKENS[chosen], drawing.seed, thought)
    remote = open_model(name, sampling, options.system, serving, budget)
    return Policy(remote.answerer, chosen, {} if options.system is None else {"system": options.system}, remote)


def _chosen(style: AnyStyle, preferred: Style) -> Style:
    return preferred if style == "auto" else style
