"""The command `ruleshift`: parses the command line, runs one verb, and puts errors into one line."""

import errno
import inspect
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any, Protocol, Union

import tyro
from tyro import MISSING_NONPROP

from ruleshift.commands.backbone import Backbone
from ruleshift.commands.check_virl import CheckVirl
from ruleshift.commands.data import Data
from ruleshift.commands.evaluate import Eval
from ruleshift.commands.play import Play
from ruleshift.commands.report import Report
from ruleshift.commands.study import Study
from ruleshift.commands.train import Rl, Sft
from ruleshift.errors import RuleshiftError
from ruleshift.settings import PPO_PRESETS, SFT_PRESETS, RLConfig
from ruleshift.training.algorithms import ALGORITHMS, configured

DESCRIPTION = """\
What does post-training teach a model: a rule that transfers, or answers that it memorises?

In the order in which one learns it (each verb has --help with an example):
  ruleshift play gp-l                                see a problem and solve it yourself
  ruleshift data gp-l --out train.jsonl              expert conversations, for any trainer
  ruleshift sft gp-l --out runs/sft                  train a model on them
  ruleshift rl gp-l --out runs/rl                    or let it learn from a verifier, turn after turn
  ruleshift eval gp-l --model runs/rl/model          what it solves, under the rule it was trained on or another
  ruleshift study headline --out runs/headline       all of that, compared fairly, in a report
"""
SUMMARIES = {
    "play": "See a problem, answer it, and read the verdict; or watch a model play.",
    "data": "Write problems with an expert's reply to a file.",
    "sft": "Supervised fine-tuning on expert replies.",
    "rl": "Multi-turn reinforcement learning with a verifier.",
    "eval": "What a model solves within 1, 2 ... turns, with intervals.",
    "study": "The experiments: headline comparison, the same in pictures, learning-rate sweep.",
    "report": "Write the report of a study again, from its numbers.",
    "backbone": "Train the bundled model anew.",
}
VERBS_WITH_SPLITS = ("play", "data", "sft", "rl", "eval")


class Command(Protocol):
    """One verb with its options. `stopped` says what remains of the work after Ctrl-C."""

    @property
    def stopped(self) -> str: ...

    def run(self) -> None: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Help and malformed options end in SystemExit, as usual."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"]):
        from ruleshift import __version__

        print(f"ruleshift {__version__}")
        return 0
    stopped = "nothing was done"
    try:
        command = parse(arguments)
        stopped = command.stopped
        command.run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"\nstopped: {stopped}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has left
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except RuleshiftError as error:
        return _fail(str(error))
    except Exception as error:
        if not _disk_is_full(error):
            raise
        return _fail(f"the disk is full ({_first_line(error)}): free some space; {stopped}")
    return 0


def parse(arguments: Sequence[str]) -> Command:
    """The verb with its options. The list of verbs shows a line about each; the help of a verb tells all."""
    if list(arguments[:2]) == ["data", "check-virl"]:  # beside the tasks that `data` takes
        return tyro.cli(CheckVirl, prog="ruleshift data check-virl", args=arguments[2:])
    preset, task = _preset(arguments), _task(arguments) or "gp-l"
    verbs: dict[str, tuple[type, object]] = {
        "play": (Play, MISSING_NONPROP),
        "data": (Data, MISSING_NONPROP),
        "sft": (Sft, Sft(tyro.MISSING, tyro.MISSING, training=SFT_PRESETS[task][preset])),
        "rl": (Rl, Rl(tyro.MISSING, tyro.MISSING, training=_as_named(PPO_PRESETS[task][preset], arguments))),
        "eval": (Eval, MISSING_NONPROP),
        "study": (Study, MISSING_NONPROP),
        "report": (Report, MISSING_NONPROP),
        "backbone": (Backbone, MISSING_NONPROP),
    }
    options = tuple(
        Annotated[kind, tyro.conf.subcommand(name, default=default, description=_told(name, kind, arguments))]
        for name, (kind, default) in verbs.items()
    )
    verb: Any = Union[options]  # noqa: UP007  (as many members as there are verbs)
    command: Command = tyro.cli(verb, prog="ruleshift", description=DESCRIPTION, args=arguments)
    return command


def _preset(arguments: Sequence[str]) -> str:
    """The preset that is asked for, whose values are the defaults of other options. Tyro complains of unknown ones."""
    named = _value_of("--preset", arguments)
    return named if named in ("tiny", "paper") else "tiny"


def _as_named(preset: RLConfig, arguments: Sequence[str]) -> RLConfig:
    """A preset with the values of the algorithm that is asked for."""
    named = _value_of("--algorithm", arguments)
    return preset if named is None else configured(preset, named)


def _value_of(name: str, arguments: Sequence[str]) -> str | None:
    """What the last option of this name is set to."""
    words = " ".join(arguments).replace("=", " ").split()
    return next((value for option, value in reversed([*itertools.pairwise(words)]) if option == name), None)


def _task(arguments: Sequence[str]) -> str | None:
    """The task that is asked for, on which the presets and the splits depend."""
    return next((word for word in arguments[1:] if word in PPO_PRESETS), None)


def _told(verb: str, kind: type, arguments: Sequence[str]) -> str | None:
    """What the help says about a verb: in the list of verbs a line, in its own its docstring (None), to which those
    that deal problems add the splits of the task that is asked for."""
    if not arguments or arguments[0].startswith("-"):
        return SUMMARIES[verb]
    if verb != arguments[0] or verb not in VERBS_WITH_SPLITS or not {"-h", "--help"} & {*arguments}:
        return None
    task, told = _task(arguments), inspect.getdoc(kind)
    if verb == "rl":
        told = "\n".join(
            [f"{told}\n", "Algorithms:", *(f"  {n}: {a.summary} {a.paper}." for n, a in ALGORITHMS.items())]
        )
    if task is None:
        return f"{told}\n\nThe splits of a task: ruleshift {verb} TASK --help"
    from ruleshift.tasks import get_task

    lines = [f"  {split}: {description}" for split, description in get_task(task).splits().items()]
    return "\n".join([f"{told}\n", f"Splits of {task}:", *lines])


def _fail(message: str) -> int:
    print("error:", " ".join(message.splitlines()), file=sys.stderr)
    return 2


def _disk_is_full(error: BaseException) -> bool:
    """Whether a full disk (or a spent quota) is behind an error, whichever library tells of it."""
    return any(
        (isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT))
        or "No space left on device" in str(cause)
        or "PytorchStreamWriter failed writing" in str(cause)
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
