"""Chat templates: what they print around the messages of a conversation.

A template comes with a model and is a program of strangers. It is shown marks in the place of messages, once for each
shape of conversation, and what stands around the marks is kept: nothing that a task or a model says enters a template.
One that is not ours runs in a process of its own, with bounded time, memory and output; this file is that program, too.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

# What templates that print today's date are told, so that prompts are the same on every day: the day that Llama 3.1's
# and 3.2's templates print where no date is to be had.
TODAY = datetime(2024, 7, 26)

# The bundled models' templates, and one for models that have none: they run in this process.
WORDS = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}{{ message.content }}<end>"
    "{% else %}<user>{{ message.content }}<bot>{% endif %}"
    "{% endfor %}"
)
WORDS_AND_PICTURES = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}{{ message.content[0].text }}<end>"
    "{% else %}<user>{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<bot>{% endif %}"
    "{% endfor %}"
)
LABEL, OWN_LABEL = "User:", "Assistant:"
PLAIN = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}\n\n"
    "{% elif message.role == 'user' %}" + LABEL + " {{ message.content }}\n\n"
    "{% else %}" + OWN_LABEL + " {{ message.content }}{{ eos_token }}\n\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}" + OWN_LABEL + "{% endif %}"
)
KNOWN = {WORDS, WORDS_AND_PICTURES, PLAIN}

MOST_MEMORY = 2**29  # bytes of address space
MOST_SECONDS = 2  # of a processor
LONGEST_WAIT = 60  # seconds, for a machine that is busy
MOST_PRINTED = 10**6  # characters
_EDGE = "\x0b"  # white space that shows whether a template strips messages
_MARK = re.compile(rf"(?P<before>{_EDGE}?)RuleshiftMessage(?P<place>\d+)\.(?P<after>{_EDGE}?)")


def mark(place: int) -> str:
    """What stands for the content of the message at `place`."""
    return f"RuleshiftMessage{place}."


@dataclass(frozen=True)
class Shape:
    """A conversation without what is said: roles, the number of pictures of each message (None: contents are text, not
    parts), whether a reply is asked for, and whether the model is to think before it answers."""

    roles: tuple[str, ...]
    pictures: tuple[int, ...] | None
    asks: bool
    thinks: bool = False


class UnprintedError(TemplateError):
    """A template drops, repeats or rewrites the messages of `role`."""

    def __init__(self, role: str) -> None:
        super().__init__(f"{role} messages are not printed as they are")
        self.role = role


def fill(printed: str, shape: Shape, contents: Sequence[str]) -> str:
    """What a template printed for marks, with the contents in their places, stripped where the template strips them.

    Raises UnprintedError when a mark does not stand there exactly once.
    """
    for place, role in sorted(enumerate(shape.roles), key=lambda each: each[1]):  # the assistant's first
        if printed.count(mark(place)) != 1:
            raise UnprintedError(role)

    def content(found: re.Match[str]) -> str:
        text = contents[int(found["place"])]
        if shape.roles[int(found["place"])] == "assistant":
            return text
        text = text if found["before"] else text.lstrip()
        return text if found["after"] else text.rstrip()

    return _MARK.sub(content, printed)


def after_marks(printed: str) -> str:
    """What stands after the last message: the header of the reply that is asked for."""
    return printed[max((found.end() for found in _MARK.finditer(printed)), default=0) :]


def _messages(shape: Shape) -> list[dict[str, Any]]:
    said = [
        mark(place) if role == "assistant" else _EDGE + mark(place) + _EDGE for place, role in enumerate(shape.roles)
    ]
    if shape.pictures is None:
        return [{"role": role, "content": text} for role, text in zip(shape.roles, said, strict=True)]
    return [
        {"role": role, "content": [{"type": "image"}] * pictures + [{"type": "text", "text": text}]}
        for role, text, pictures in zip(shape.roles, said, shape.pictures, strict=True)
    ]


@lru_cache(maxsize=1_000)
def printed(template: str, shapes: tuple[Shape, ...], tokens: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """What `template` prints for each shape, with marks for what is said. `tokens` are special tokens by name.

    Raises TemplateError, with a reason of one line, when it fails or takes more than its bounds.
    """
    if template in KNOWN:
        return tuple(_print(template, shapes, dict(tokens)))
    order = json.dumps({"template": template, "shapes": [asdict(shape) for shape in shapes], "tokens": dict(tokens)})
    try:
        done = subprocess.run(
            [sys.executable, "-P", __file__], input=order, capture_output=True, text=True, timeout=LONGEST_WAIT
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise TemplateError("it takes too much time or memory") from error
    if "failure" in answer:
        raise TemplateError(answer["failure"])
    return tuple(answer["texts"])


def _print(template: str, shapes: Iterable[Shape], tokens: dict[str, str]) -> list[str]:
    compiled = _environment().from_string(template)
    texts = []
    for shape in shapes:
        pieces, length = [], 0
        switches = {"enable_thinking": shape.thinks, "thinking": shape.thinks}
        given = {**tokens, **switches, "tools": None, "documents": None, "add_generation_prompt": shape.asks}
        for piece in compiled.generate(messages=_messages(shape), **given):
            pieces.append(piece)
            length += len(piece)
            if length > MOST_PRINTED:
                raise TemplateError(f"it prints more than {MOST_PRINTED:,} characters")
        texts.append("".join(pieces))
    return texts


class _Generation(Extension):
    """`{% generation %}`, which marks replies for those who learn from them: here it prints its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Namespace(Namespace):
    """A namespace without names that begin with an underscore, which lead to Python's insides."""

    def __init__(*args: Any, **attributes: Any) -> None:
        self, *given = args
        for name in dict(*given, **attributes):
            _refuse_private(name)
        Namespace.__init__(self, *given, **attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: object) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}")


def _environment() -> ImmutableSandboxedEnvironment:
    """What chat templates are written for. Source: transformers, `utils/chat_template_utils.py`."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **more: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **more)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    new_dict: Callable[..., dict[Any, Any]] = lambda *args, **items: dict(*args, **items)  # noqa: E731
    environment.filters["tojson"] = tojson
    environment.globals.update(raise_exception=refuse, strftime_now=TODAY.strftime, namespace=_Namespace, dict=new_dict)
    return environment


def _bound_this_process() -> None:
    import resource

    for kind, most in (
        (resource.RLIMIT_AS, MOST_MEMORY),
        (resource.RLIMIT_CPU, MOST_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def _main() -> None:
    """Read an order from standard input, and answer with `texts` or a `failure`."""
    order = json.load(sys.stdin)
    _bound_this_process()
    shapes = [Shape(**shape) for shape in order["shapes"]]
    try:
        answer: dict[str, object] = {"texts": _print(order["template"], shapes, order["tokens"])}
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        if isinstance(error, MemoryError):
            reason = "it takes too much memory"
        answer = {"failure": "".join(c if c.isprintable() else " " for c in reason[:200])}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    _main()
