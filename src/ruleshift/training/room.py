"""What to change where memory runs out in training."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec

import torch

from ruleshift.backbones.room import Saving, halved, room_for
from ruleshift.errors import RuleshiftError
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.training.algorithms import check_algorithm
from ruleshift.training.heap import given_back
from ruleshift.training.trajectories import Trajectory

RANK = 16  # of adapters that take the place of a whole model that learns


@contextmanager
def room_to_begin(config: RLConfig) -> Iterator[None]:
    """While what stands beside the model is made: the copy of its start, its critic, what a teacher needs."""

    def savings() -> list[Saving]:
        return _fitting(config, _standing(config, begun=False))

    with room_for("before the first update", savings, _needs()):
        yield


@contextmanager
def room_to_sample(config: SFTConfig | RLConfig) -> Iterator[None]:
    """While conversations are sampled."""
    with (
        room_for("while it sampled", lambda: less_to_sample(config), _needs()),
        given_back(config.gradient_checkpointing),
    ):
        yield


@contextmanager
def room_to_learn(
    config: SFTConfig | RLConfig, learned: Iterable[Trajectory] = (), again: bool = True
) -> Iterator[None]:
    """While passes and steps are made. learned: the conversations that these are about, of which each is in one pass
    whatever the limits of it are; looked at only where memory runs out. again: whether layers can be computed again."""

    def savings() -> list[Saving]:
        looked_at = list(learned)
        tokens = max((len(t.ids) for t in looked_at), default=0)
        return less_to_learn(config, tokens, max((len(t.pictures) for t in looked_at), default=0), again)

    with room_for("while it learned", savings, _needs()), given_back(config.gradient_checkpointing):
        yield


def less_to_sample(config: SFTConfig | RLConfig) -> list[Saving]:
    """What takes less memory while conversations are sampled."""
    if isinstance(config, RLConfig):
        at_once, beside = config.episodes, _standing(config)
    else:  # nothing stands beside the model yet
        at_once, beside = config.examples, []
    fewer = halved("batch_size", config.batch_size, at_once, part=part_of(config))
    return _fitting(config, [*fewer, *beside, *_shorter(config)])


def less_to_learn(config: SFTConfig | RLConfig, tokens: int = 0, pictures: int = 0, again: bool = True) -> list[Saving]:
    """What takes less memory while passes and steps are made. tokens, pictures: of the longest conversation, 0 where
    that is not known. again: whether layers of the model can be computed again."""
    found = _less("max_tokens", config, tokens)
    if isinstance(config, RLConfig) and pictures:
        found += _less("max_pictures", config, pictures)
    if again and not config.gradient_checkpointing:
        found.append(Saving("gradient_checkpointing", True, part=part_of(config)))
    found += _standing(config)
    if isinstance(config, RLConfig) and tokens >= config.max_tokens:
        found += _shorter(config)
    return _fitting(config, found)


def part_of(config: SFTConfig | RLConfig) -> str:
    """Whose settings they are in a study."""
    return "sft" if isinstance(config, SFTConfig) else "distil" if isinstance(config, DistilConfig) else "rl"


def _less(setting: str, config: SFTConfig | RLConfig, least: int) -> list[Saving]:
    """Half of a limit of passes, and no less than `least`, which one conversation takes; 0 where that is not known."""
    now: int = getattr(config, setting)
    give = max(now // 2, least, 1)
    beside = "" if least else "a pass has one conversation at least"
    return [Saving(setting, give, now, beside, part_of(config))] if give < now else []


def _shorter(config: SFTConfig | RLConfig) -> list[Saving]:
    return halved("max_new_tokens", config.max_new_tokens, beside="which cuts longer replies", part=part_of(config))


def _standing(config: SFTConfig | RLConfig, begun: bool = True) -> list[Saving]:
    """What takes less all along where a whole model learns. Until that has `begun` there are no moments of Adam, and
    what finds no memory is the copy of the start, wherever that is put."""
    if config.lora_rank:
        return []
    part, on_gpu = part_of(config), torch.cuda.is_available()
    found = [Saving("lora_rank", RANK, beside="adapters learn, and not the model", part=part)]
    if isinstance(config, RLConfig):
        elsewhere = {"device": "cpu" if on_gpu else "disk", "cpu": None if on_gpu and begun else "disk", "disk": None}
        if place := elsewhere[config.reference]:
            found.append(Saving("reference", place, config.reference, part=part))
    if begun and not config.adam_8bit and find_spec("bitsandbytes") is not None and not _is_one_of_several():
        found.append(Saving("adam_8bit", True, part=part))
    return found


def _fitting(config: SFTConfig | RLConfig, savings: list[Saving]) -> list[Saving]:
    """Those that the other settings allow."""

    def fits(one: Saving) -> bool:
        try:
            changed = replace(config, **{one.setting: one.give})
            if isinstance(changed, RLConfig):
                check_algorithm(changed)
        except RuleshiftError:
            return False
        return True

    return [one for one in savings if fits(one)]


def _needs() -> str:
    """What a run with other settings needs, and what tells beforehand what it takes; not of one among several
    processes."""
    machine = "and the name of the card (--help lists them) say" if torch.cuda.is_available() else "cpu says"
    told = "" if _is_one_of_several() else f"; --plan {machine} beforehand what takes how much"
    return f"in another --out{told}"


def _is_one_of_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
