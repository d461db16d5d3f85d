"""From the name after `--model` to something that answers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ruleshift.backbones.config import check_model
from ruleshift.bounds import above_zero, at_least
from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from ruleshift.engines.protocol import Responder
    from ruleshift.tasks.protocol import Style

AnyStyle = Literal["auto", "full", "terse", "varied"]
Decoding = Literal["greedy", "sampled"]
REPLY_TOKENS = {"full": 512, "terse": 48, "varied": 512}


@dataclass(frozen=True)
class Policy:
    """Who answers, and the prompt style it is shown."""

    engine: "Responder"
    style: "Style"


@dataclass(frozen=True)
class Drawing:
    """How replies are drawn. `max_new_tokens` None leaves it to the prompt style, `threads` to the cores that are
    free."""

    decoding: Decoding
    temperature: float = 1.0
    max_new_tokens: int | None = None
    batch_size: int = 256
    seed: int = 0
    threads: int | None = None

    def check(self) -> None:
        """Raise RuleshiftError for settings that nothing can be drawn with."""
        at_least("--batch-size", self.batch_size, 1)
        if self.max_new_tokens is not None:
            at_least("--max-new-tokens", self.max_new_tokens, 1)
        if self.threads is not None:
            at_least("--threads", self.threads, 1)
        if self.decoding == "sampled":
            above_zero("--temperature", self.temperature)


def open_policy(model: str, style: AnyStyle, drawing: Drawing, pictures: bool = False) -> Policy:
    """The policy called `model`: expert, random, bundled, a folder, or a hub id. pictures: whether it must see."""
    if model == "none":
        raise RuleshiftError("--model none answers nothing here; choose bundled, expert, random, a folder or a hub id")
    if model in ("expert", "random"):
        from ruleshift.engines.text import expert, random_guesser

        return Policy(expert() if model == "expert" else random_guesser(drawing.seed), _chosen(style, "full"))
    if model != "bundled":
        check_model(model)

    from ruleshift.backbones.load import load_backbone
    from ruleshift.engines.local import LocalEngine
    from ruleshift.engines.protocol import Sampling
    from ruleshift.quiet import quiet_libraries
    from ruleshift.threads import set_threads

    quiet_libraries()
    set_threads(drawing.threads)
    backbone = load_backbone(model, pictures=pictures)
    chosen = _chosen(style, backbone.style)
    temperature = drawing.temperature if drawing.decoding == "sampled" else 0.0
    sampling = Sampling(temperature, drawing.max_new_tokens or REPLY_TOKENS[chosen], drawing.seed)
    return Policy(LocalEngine(backbone.model, backbone.chat, sampling, drawing.batch_size), chosen)


def _chosen(style: AnyStyle, preferred: "Style") -> "Style":
    return preferred if style == "auto" else style
