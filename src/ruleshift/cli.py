"""The command `ruleshift`: parses the command line, runs one verb, and puts errors into one line."""

import errno
import inspect
import io
import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Protocol, Union

import tyro

from ruleshift.commands.afterwards import Profile, Rescore
from ruleshift.commands.backbone import BackboneCommand
from ruleshift.commands.check_virl import CheckVirl
from ruleshift.commands.compare import Compare
from ruleshift.commands.data import Data
from ruleshift.commands.evaluate import Eval
from ruleshift.commands.foretell import Foretell
from ruleshift.commands.helptext import join_lines
from ruleshift.commands.opening import OnTask
from ruleshift.commands.play import Play
from ruleshift.commands.report import ReportCommand
from ruleshift.commands.study import StudyCommand, description_of
from ruleshift.commands.study_status import StudyStatus
from ruleshift.commands.train import Distil, Rl, Sft, Training
from ruleshift.errors import RuleshiftError
from ruleshift.launched import launched
from ruleshift.memory import bound_memory
from ruleshift.settings import RLConfig
from ruleshift.tasks import get_task, names_a_task
from ruleshift.tasks.protocol import NoOptions, Task
from ruleshift.tasks.recipe import Recipe
from ruleshift.threads import wait_passively
from ruleshift.training.algorithms import ALGORITHMS, DISTILLATIONS, configured, guided_by_default
from ruleshift.training.sft_data import DATA

DESCRIPTION = """\
What does post-training teach a model: a rule that transfers, or answers that it memorises?

In the order in which one learns it (each verb has --help with an example):
  ruleshift play gp-l                                see a problem and solve it yourself
  ruleshift data gp-l --out train.jsonl              expert conversations, for any trainer
  ruleshift sft gp-l --out runs/sft                  train a model on them
  ruleshift rl gp-l --out runs/rl                    or let it learn from a verifier, turn after turn
  ruleshift distil gp-l --teacher expert --out runs/distil
                                                     or from a teacher that scores what it says
  ruleshift eval gp-l --model runs/rl/model          what it solves, under the rule it was trained on or another
  ruleshift study headline --out runs/headline       all of that, compared fairly, in a report
"""
SUMMARIES = {
    "play": "See a problem, answer it, and read the verdict; or watch a model play.",
    "data": "Write problems with an expert's reply to a file.",
    "sft": "Supervised fine-tuning, on an expert's replies or a model's own.",
    "rl": "Multi-turn reinforcement learning with a verifier.",
    "distil": "On-policy distillation from another model, an expert, or itself shown more.",
    "eval": "What a model solves within 1, 2 ... turns, with intervals.",
    "compare": "Models side by side on the same problems: the report card.",
    "rescore": "Judge the replies of an evaluation anew, without asking the model.",
    "profile": "The problems of an evaluation from easy to hard.",
    "study": "The experiments: headline comparison, the same in pictures, learning-rate sweep.",
    "report": "Write the report of a study again, from its numbers.",
    "foretell": "Which early sign foretells the loss under shift, over the runs of studies.",
    "backbone": "Model folders of GGUF files and of checkpoints; the bundled models anew.",
}


class Command(Protocol):
    """One verb with its options. `stopped` says what remains of the work after Ctrl-C."""

    @property
    def stopped(self) -> str: ...

    def run(self) -> None: ...


ON_TASKS: dict[str, type[OnTask[Any]]] = {
    "play": Play,
    "data": Data,
    "sft": Sft,
    "rl": Rl,
    "distil": Distil,
    "eval": Eval,
}
OTHERS: dict[str, type[Command]] = {
    "compare": Compare,
    "rescore": Rescore,
    "profile": Profile,
    "study": StudyCommand,
    "report": ReportCommand,
    "foretell": Foretell,
    "backbone": BackboneCommand,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Help and malformed options end in SystemExit, as usual."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"]):
        from ruleshift import __version__

        print(f"ruleshift {__version__}")
        return 0
    _accept_all_text()
    wait_passively()
    bound_memory()
    command: Command | None = None
    try:
        command = parse(arguments)
        if launched() > 1 and not isinstance(command, Training):
            raise RuleshiftError("only sft, rl and distil run in several processes: start this one without a launcher")
        command.run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"\nstopped: {_remains(command)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has left
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except RuleshiftError as error:
        return _fail(str(error))
    except Exception as error:
        if _disk_is_full(error):
            return _fail(f"the disk is full ({_first_line(error)}): free some space; {_remains(command)}")
        from ruleshift.backbones.room import ran_out

        if ran_out(error):
            said = f"no memory is left ({_first_line(error)}): free some, or do less at once"
            return _fail(f"{said}; {_remains(command)}")
        raise
    return 0


def _remains(command: Command | None) -> str:
    return "nothing was done" if command is None else command.stopped


def _accept_all_text() -> None:
    """Have what the terminal's encoding lacks shown, or read, as a question mark, rather than end in an error."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def parse(arguments: Sequence[str]) -> Command:
    """The verb with its options. The list of verbs shows a line about each; the help of a verb tells all."""
    join_lines()
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("", ())
    if verb == "data" and rest[:1] == ["check-virl"]:  # beside the tasks that `data` takes
        command: Command = tyro.cli(CheckVirl, prog="ruleshift data check-virl", args=rest[1:])
    elif verb == "study" and rest[:1] == ["status"]:  # beside the studies that `study` takes
        command = tyro.cli(StudyStatus, prog="ruleshift study status", args=rest[1:])
    elif verb == "study":
        command = tyro.cli(StudyCommand, prog="ruleshift study", description=description_of(rest), args=rest)
    elif verb in ON_TASKS:
        command = _on_task(verb, rest)
    elif verb in OTHERS:
        command = tyro.cli(OTHERS[verb], prog=f"ruleshift {verb}", args=rest)
    else:
        named = tuple(
            Annotated[NoOptions, tyro.conf.subcommand(name, description=summary)] for name, summary in SUMMARIES.items()
        )
        verbs: Any = Union[named]  # noqa: UP007  (as many members as there are verbs)
        command = tyro.cli(verbs, prog="ruleshift", description=DESCRIPTION, args=arguments)
    return command


def _called(options: Mapping[str, Any]) -> set[str]:
    """What options are called, those of records among them, too."""
    names: set[str] = set()
    for name, value in options.items():
        record = is_dataclass(value) and not isinstance(value, type)
        names |= _called({f.name: getattr(value, f.name) for f in fields(value)}) if record else {name}
    return names


def _on_task(verb: str, arguments: Sequence[str]) -> Command:
    """A verb with its own options and those of the task that it names, on which defaults depend, too."""
    name = _task(arguments)
    task = None if name is None else get_task(name)
    kind, options = ON_TASKS[verb], NoOptions if task is None else task.options
    values: dict[str, Any] = {"options": options()}
    if verb in ("sft", "rl", "distil"):
        recipe = Recipe("") if task is None else task.recipe
        preset = _preset(arguments, recipe.sft if verb == "sft" else recipe.rl)
        preset = guided_by_default(preset) if verb == "distil" else preset
        values["training"] = preset if verb == "sft" else _as_named(preset, arguments)
    required = {field.name: tyro.MISSING for field in fields(kind) if field.default is MISSING}
    default = kind(**(required | values))
    clash = _called({field.name: getattr(default, field.name) for field in fields(kind) if field.name != "options"})
    clash &= {field.name for field in fields(options)}
    if clash:
        raise RuleshiftError(
            f"options of {name} are called as those of ruleshift {verb} ({', '.join(sorted(clash))}): rename them"
        )
    command: OnTask[Any] = tyro.cli(
        kind[options],  # type: ignore[index]
        prog=f"ruleshift {verb}",
        description=_told(verb, kind, task),
        default=default,
        args=arguments,
    )
    if command.task != name:
        raise RuleshiftError(f"name the task first: ruleshift {verb} {command.task}")
    return command  # type: ignore[return-value]


def _task(arguments: Sequence[str]) -> str | None:
    """The task that is asked for: the first word, as a rule."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0]
    return next((word for word in arguments if not word.startswith("-") and names_a_task(word)), None)


def _preset(arguments: Sequence[str], presets: Mapping[str, Any]) -> Any:
    """The settings of the preset that is asked for, which are the defaults of other options."""
    preset = _value_of("--preset", arguments) or "tiny"
    if preset not in presets:
        raise RuleshiftError(f"unknown --preset {preset!r}; choose from {', '.join(presets)}")
    return presets[preset]


def _as_named(preset: RLConfig, arguments: Sequence[str]) -> RLConfig:
    """A preset with the values of the algorithm that is asked for, and with the numbers of episodes and of those to a
    group that are, since the algorithm's must fit to them."""
    named = _value_of("--algorithm", arguments)
    if named is None:
        return preset
    given = {name: _value_of(f"--{name}", arguments) for name in ("episodes", "group")}
    counts = {name: int(value) for name, value in given.items() if value is not None and value.isdecimal()}
    return configured(preset, named, **counts)


def _value_of(name: str, arguments: Sequence[str]) -> str | None:
    """What the last option of this name is set to."""
    words = " ".join(arguments).replace("=", " ").split()
    return next((value for option, value in reversed([*itertools.pairwise(words)]) if option == name), None)


def _told(verb: str, kind: type, task: Task | None) -> str:
    """What the help says about a verb on a task: its docstring, and the splits of the task that is asked for."""
    told = inspect.getdoc(kind)
    tables = (("rl", "Algorithms:", ALGORITHMS), ("distil", "Algorithms:", DISTILLATIONS), ("sft", "Data:", DATA))
    for of, title, entries in tables:
        if verb == of:
            told = "\n".join([f"{told}\n", title, *(f"  {n}: {e.summary}\n    {e.paper}." for n, e in entries.items())])
    if task is None:
        return f"{told}\n\nThe splits of a task, and options of its own: ruleshift {verb} TASK --help"
    lines = [f"  {split}: {description}" for split, description in task.splits().items()]
    return "\n".join([f"{told}\n", f"Splits of {task.id}:", *lines])


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
