"""Where memory runs out: said as that, with what takes less of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.misfits import as_assigned, as_option

# Where torch raises a plain RuntimeError, and the system an OSError.
SIGNS = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Cannot allocate memory",
)


@dataclass(frozen=True)
class Saving:
    """Less memory: the value `give` for a setting. `now` is the present one, where that is worth saying, and `beside`
    what else that does. `part` is whose setting it is, among those of a study: sft, rl or distil."""

    setting: str
    give: Any
    now: Any = None
    beside: str = ""
    part: str = ""


def as_assignment(saving: Saving) -> str:
    """As a study takes it, for all its arms."""
    return f"--set {saving.part}.{saving.setting}={as_assigned(saving.give)}"


@dataclass(frozen=True)
class Audience:
    """Who is told: how a setting is written for them (None where they can set nothing), and, where that is not for the
    command to say, what another value needs."""

    written: Callable[[Saving], str] | None
    needs: str | None = None


OF_COMMAND = Audience(lambda saving: as_option(saving.setting, saving.give))
OF_STUDY = Audience(as_assignment, "in another --out")
OF_FIXED = Audience(None)  # a part of a study whose settings are its own
_audience: ContextVar[Audience] = ContextVar("audience", default=OF_COMMAND)


@contextmanager
def said_to(audience: Audience) -> Iterator[None]:
    """Inside, errors are in the words of this audience."""
    before = _audience.set(audience)
    try:
        yield
    finally:
        _audience.reset(before)


class OutOfRoom(RuleshiftError):  # noqa: N818  (what is missing)
    """Memory ran out. `savings` are those that are left, and may be none; `needs`: what they take on a command line."""

    def __init__(self, doing: str, savings: Sequence[Saving] = (), needs: str = "") -> None:
        audience = _audience.get()
        told = in_words(savings)
        needs = needs if audience.needs is None else audience.needs
        remedy = f"give {told}{f'; {needs}' if needs else ''}"
        otherwise = "choose a smaller model, or a machine with more free memory"
        super().__init__(f"memory ran out {doing}: {remedy if told else otherwise}")


def in_words(savings: Sequence[Saving]) -> str:
    """One or the other, as those who are told write it; "" where there is none, or they can set nothing."""
    written = _audience.get().written
    return ", or ".join(f"{written(one)}{_remark(one)}" for one in savings) if written else ""


def _remark(saving: Saving) -> str:
    remarks = ["" if saving.now is None else f"now {saving.now}", saving.beside]
    return f" ({'; '.join(filter(None, remarks))})" if any(remarks) else ""


def ran_out(error: BaseException) -> bool:
    """Whether it says that no memory could be had, of whatever device."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in SIGNS)


@contextmanager
def room_for(doing: str, savings: Callable[[], Sequence[Saving]] = lambda: (), needs: str = "") -> Iterator[None]:
    """Turn any failure to have memory inside into an OutOfRoom, with the savings that are then asked for."""
    try:
        yield
    except RuleshiftError:
        raise
    except Exception as error:
        if not ran_out(error):
            raise
        raise OutOfRoom(doing, savings(), needs) from error


def halved(setting: str, now: int, most: int | None = None, beside: str = "", part: str = "") -> list[Saving]:
    """Half of it, or of the `most` that is ever used of it; nothing where that cannot be halved."""
    used = now if most is None else min(now, most)
    return [Saving(setting, used // 2, now, beside, part)] if used > 1 else []
