"""What is said to an OpenAI-compatible chat server, and how its answer is read. What a server sends is untrusted."""

import base64
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from ruleshift.engines.protocol import Request, Sampling
from ruleshift.engines.streams import stream_key
from ruleshift.files import writable
from ruleshift.pictures import png
from ruleshift.records import Completion, Message, Picture, Served, StopReason

MOST_CHARACTERS = 1_000_000  # of a reply, or a thought: what comes after is dropped
_SEEDS = 2**31  # what servers take
_data_urls: "WeakKeyDictionary[Picture, str]" = WeakKeyDictionary()


class BrokenAnswer(Exception):  # noqa: N818  (asked again, so that users hardly ever see it)
    """An answer that is no answer: no JSON, no choice, another model's."""


@dataclass(frozen=True)
class Asking:
    """What every request to a server says beside the conversation. `more` are fields of its body, which win over ours;
    one that is None is left out."""

    model: str
    sampling: Sampling
    system: str | None = None
    logprobs: bool = False
    more: Mapping[str, Any] | None = None

    @property
    def most_tokens(self) -> int:
        """The longest reply, thinking included."""
        return self.sampling.max_new_tokens + self.sampling.thinking_tokens

    def body(self, request: Request) -> dict[str, Any]:
        """The body of a request. Its seed depends on that of sampling, the problem, the sample and the turn alone."""
        first = [] if self.system is None else [Message("system", self.system)]
        turn = sum(message.role == "assistant" for message in request.messages)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [_message(message) for message in (*first, *request.messages)],
            "temperature": self.sampling.temperature,
            "max_tokens": self.most_tokens,
            "seed": stream_key(self.sampling.seed, f"{request.id}/{turn}", request.sample) % _SEEDS,
        }
        if self.logprobs:
            body["logprobs"] = True
        return {name: value for name, value in {**body, **(self.more or {})}.items() if value is not None}


def _message(message: Message) -> dict[str, Any]:
    text = writable(message.content)  # a record of earlier versions may hold a lone surrogate
    if not message.pictures:
        return {"role": message.role, "content": text}
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in message.pictures
    ]
    return {"role": message.role, "content": [*parts, {"type": "text", "text": text}]}


def data_url(picture: Picture) -> str:
    """The picture as a PNG file in a URL; drawn once for as long as the picture is kept."""
    if picture not in _data_urls:
        _data_urls[picture] = "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")
    return _data_urls[picture]


def read_answer(data: bytes) -> tuple[Completion, Served]:
    """The completion in the body of an answer, and how it was served. Raises BrokenAnswer for anything else.

    The reply is `content` (text, or parts of it), or a `refusal` where there is none; what is in `reasoning_content` or
    `reasoning` is the thought.
    """
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BrokenAnswer("no JSON") from error
    choice = _first(answer.get("choices")) if isinstance(answer, dict) else None
    message = choice.get("message") if choice else None
    if not choice or not isinstance(message, dict):
        raise BrokenAnswer("no choices")
    text = _text(message.get("content")) or _text(message.get("refusal"))
    thought = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    details = counts.get("completion_tokens_details")
    served = Served(
        model=_name(answer.get("model")) or "",
        fingerprint=_name(answer.get("system_fingerprint")),
        thought=thought,
        prompt_tokens=_count(counts.get("prompt_tokens")),
        reply_tokens=_count(counts.get("completion_tokens")),
        thought_tokens=_count(details.get("reasoning_tokens")) if isinstance(details, dict) else None,
    )
    stop: StopReason = "length" if choice.get("finish_reason") == "length" else "stop"
    return Completion(text, (), _logprobs(choice.get("logprobs")), stop), served


def _first(choices: object) -> dict[str, Any] | None:
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _text(content: object) -> str:
    """The text of a message: a string, or the texts among its parts."""
    if isinstance(content, str):
        return writable(content[:MOST_CHARACTERS])
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return writable("".join(text for text in texts if isinstance(text, str))[:MOST_CHARACTERS])


def _name(value: object) -> str | None:
    return writable(value[:200]) if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _logprobs(found: object) -> tuple[float, ...]:
    """The log-probabilities of the tokens of a reply; none where any of them is missing."""
    entries = found.get("content") if isinstance(found, dict) else None
    values = [_logprob(entry) for entry in entries] if isinstance(entries, list) else []
    numbers = tuple(value for value in values if value is not None)
    return numbers if len(numbers) == len(values) else ()


def _logprob(entry: object) -> float | None:
    value = entry.get("logprob") if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -sys.float_info.max <= value <= 1e-6 else None
