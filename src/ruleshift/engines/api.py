"""Models behind an OpenAI-compatible chat server (vLLM, SGLang, llama.cpp, Ollama, transformers serve, vendors)."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ruleshift.engines.patience import asked_wait, backoff
from ruleshift.engines.protocol import Answerer, NoMoreAnswers, Request
from ruleshift.engines.spending import Ledger, Spending
from ruleshift.engines.wire import Asking, BrokenAnswer, read_answer
from ruleshift.errors import RuleshiftError
from ruleshift.records import Completion, Served

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

MOST_BYTES = 32 * 2**20  # of an answer
AGAIN = (408, 409, 425, 429)  # statuses that may pass; so may all from 500 on
CHARACTERS = 2  # of a prompt that make a token at least: guesses of its size are high
PICTURE = 2_000  # tokens that a picture is guessed at
LEAST_KEY = 8  # bytes: what is shorter is no secret, and may stand in a reply by chance
EMPTY = 2  # empty replies that are not believed


@dataclass(frozen=True)
class Server:
    """Where a server is, and how patient to be with it. An attempt has `timeout` seconds from request to the last byte;
    after `retries` failures in a row of one request nothing more is asked, nor where it wants to be left alone for
    longer than `patience` seconds. The key shows in no representation."""

    base_url: str
    key: str = field(repr=False)
    concurrency: int = 16
    timeout: float = 300.0
    retries: int = 8
    patience: float = 600.0


class FailedAttempt(Exception):  # noqa: N818  (made again, so that users hardly ever see it)
    """An attempt that failed in a way that may pass. `wait`: the seconds for which the server asks to be left alone.
    `served`: what it gave all the same, which costs."""

    def __init__(self, why: str, wait: float | None = None, served: Served | None = None) -> None:
        super().__init__(why)
        self.wait, self.served = wait, served


@dataclass
class Identity:
    """Which model answers, as the server names it, and its fingerprint. `known` are those that gave replies; any other
    is refused unless it `may_change`."""

    asked: str
    known: set[tuple[str, str | None]] = field(default_factory=set)
    may_change: bool = False
    _named: Counter[str] = field(default_factory=Counter)

    def check(self, served: Served) -> None:
        """Raises BrokenAnswer for a reply of another model than those known; where none is, a name that holds the one
        asked for is right, and so is any that was met twice (a server may resolve an alias). Raises NoMoreAnswers for
        another fingerprint."""
        who = (served.model, served.fingerprint)
        self._named[served.model] += 1
        names = {name for name, _ in self.known}
        expected = served.model in names if names else self.asked in served.model or self._named[served.model] > 1
        if not (expected or self.may_change):
            raise BrokenAnswer(f"an answer of the model {served.model!r}, not of {sorted(names or {self.asked})[0]!r}")
        if names and who not in self.known and not self.may_change:
            there = ", ".join(sorted(f"{name} {mark or '(no fingerprint)'}" for name, mark in self.known))
            raise NoMoreAnswers(
                f"the model behind the server changed: it answered as {there}, and now as {served.model} "
                f"{served.fingerprint or '(no fingerprint)'}: begin anew, with another --out, or give --may-change"
            )
        self.known.add(who)


class ApiModel:
    """Answers of a model behind a server. `answerer` is what drives conversations with it."""

    def __init__(self, server: Server, asking: Asking, spending: Spending, may_change: bool = False) -> None:
        self.server, self.asking, self.spending = server, asking, spending
        self.identity = Identity(asking.model, may_change=may_change)
        self._client: AsyncOpenAI | None = None
        self._gone: NoMoreAnswers | None = None
        self._rng = random.Random()  # jitter only: no number depends on it

    @property
    def answerer(self) -> Answerer:
        return Answerer(self.answer, self.server.concurrency, self._close)

    def go_on(self, replies: Iterable[Served], ledger: Ledger) -> None:
        """Count the replies of earlier calls, and what else these asked for."""
        replies = list(replies)
        self.spending.go_on(replies, ledger)
        self.identity.known |= {(served.model, served.fingerprint) for served in replies}

    async def answer(self, request: Request) -> Completion:
        """The next reply of a conversation. Raises NoMoreAnswers where there is none, and from then on for all."""
        try:
            return await self._patiently(self.asking.body(request), _most_tokens(request, self.asking))
        except NoMoreAnswers as error:
            self._gone = self._gone or error
            raise

    async def _patiently(self, body: Mapping[str, Any], most: tuple[int, int]) -> Completion:
        """Ask until there is an answer. A model that says nothing three times says nothing."""
        failures = 0
        while True:
            self._check_going()
            async with self.spending.admitted(most):
                try:
                    completion, served = await self._once(body)
                    if completion.text.strip() or completion.stop_reason == "length" or failures >= EMPTY:
                        self.spending.count(served)
                        return replace(completion, served=replace(served, attempts=failures + 1))
                    failure = FailedAttempt("an empty reply", served=served)
                except FailedAttempt as failed:
                    failure = failed
            self.spending.fail(str(failure), failure.served)
            failures += 1
            await self._wait(failures, failure)

    async def _wait(self, failures: int, failure: "FailedAttempt") -> None:
        """Wait before the next attempt; in vain where another conversation finds that there are no more answers."""
        if failures > self.server.retries:
            raise NoMoreAnswers(
                f"the server at {self.server.base_url} gave no answer in {failures} attempts (the last: {failure}): "
                "see to it, or give more --retries or a longer --timeout"
            )
        seconds = max(backoff(failures, self._rng), failure.wait or 0.0)
        if seconds > self.server.patience:
            raise NoMoreAnswers(
                f"the server at {self.server.base_url} wants to be left alone for {seconds:.0f} s: try again then, or "
                "with more --patience"
            )
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.5))
            self._check_going()

    def _check_going(self) -> None:
        if self._gone is not None:
            raise self._gone

    async def _once(self, body: Mapping[str, Any]) -> tuple[Completion, Served]:
        """One attempt. Raises FailedAttempt for what may pass, NoMoreAnswers for what will not."""
        import openai

        began = time.monotonic()
        try:
            async with asyncio.timeout(self.server.timeout):
                data = await self._post(body)
            completion, served = read_answer(data)
        except openai.APIStatusError as error:
            raise self._refusal(error) from error
        except TimeoutError as error:
            raise FailedAttempt(f"no answer in {self.server.timeout:g} s") from error
        except openai.APIConnectionError as error:
            raise FailedAttempt(self._line(error.__cause__ or error)) from error
        except BrokenAnswer as error:
            raise FailedAttempt(str(error)) from error
        try:
            self.identity.check(served)
        except BrokenAnswer as error:
            raise FailedAttempt(str(error), served=served) from error
        return completion, replace(served, seconds=round(time.monotonic() - began, 3))

    async def _post(self, body: Mapping[str, Any]) -> bytes:
        """The body of the answer. Raises BrokenAnswer for one that is cut off or too long, and the errors of openai."""
        if self._client is None:
            self._client = _client(self.server)
        chunks, size = [], 0
        create = self._client.chat.completions.with_streaming_response.create
        more = {name: value for name, value in body.items() if name not in ("model", "messages")}
        async with create(model=body["model"], messages=body["messages"], extra_body=more) as response:
            try:
                async for chunk in response.iter_bytes():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > MOST_BYTES:
                        raise BrokenAnswer(f"more than {MOST_BYTES} bytes")
            except BrokenAnswer:
                raise
            except Exception as error:  # of the HTTP library, which differs between versions of openai
                raise BrokenAnswer(f"cut off ({self._line(error)})") from error
        return self._without_key(b"".join(chunks))

    def _refusal(self, error: "APIStatusError") -> Exception:
        """What an HTTP status other than success means for us."""
        status, where = error.status_code, self.server.base_url
        said = f"HTTP {status}: {self._line(_said_with(error))}"
        if status >= 500 or (status in AGAIN and error.code != "insufficient_quota"):
            return FailedAttempt(said, asked_wait(error.response.headers, time.time()))
        if status in (401, 403):
            return NoMoreAnswers(f"{where} refuses the key ({said}): set it in the environment (see --key-variable)")
        if status == 404:
            return NoMoreAnswers(f"{where} has no model {self.asking.model!r} ({said}): check --model and --base-url")
        return NoMoreAnswers(
            f"{where} refuses the request ({said}): where it names a field, leave that out with --body "
            "'{\"FIELD\": null}'; where it is too long, take fewer turns (--turns)"
        )

    def _line(self, error: BaseException) -> str:
        """An error in one line, without the key, whatever a server makes of it."""
        text = " ".join(str(error).split()) or type(error).__name__
        return (text.replace(self.server.key, "***") if self.server.key else text)[:300]

    def _without_key(self, data: bytes) -> bytes:
        """An answer in which the key is not repeated, since answers are recorded."""
        key = self.server.key.encode()
        return data.replace(key, b"***") if len(key) >= LEAST_KEY else data

    async def _close(self) -> None:
        if self._client is not None:
            await self._client.close()
        self._client = None


def _said_with(error: "APIStatusError") -> Exception:
    """What a server says of a refusal: the usual `error.message`, or whatever else stands in the body."""
    if isinstance(error.body, dict) and isinstance(error.body.get("message"), str):
        return RuntimeError(error.body["message"])
    return RuntimeError(error.response.text or "no reason given")


def check_installed() -> None:
    """Raise RuleshiftError, with the remedy, where the package that speaks to servers is missing."""
    if find_spec("openai") is None:
        raise RuleshiftError("models behind servers need openai: pip install 'ruleshift[api]'")


def _client(server: Server) -> "AsyncOpenAI":
    from openai import AsyncOpenAI

    from ruleshift.engines.refusals import BoundedClient

    key = server.key or "none"  # which servers without keys do not look at
    bounded = BoundedClient(timeout=server.timeout)
    return AsyncOpenAI(
        api_key=key, base_url=server.base_url, max_retries=0, timeout=server.timeout, http_client=bounded
    )


def _most_tokens(request: Request, asking: Asking) -> tuple[int, int]:
    """The most tokens that a request takes: of its prompt, guessed high, and of the reply."""
    said = sum(len(message.content) for message in request.messages) + len(asking.system or "")
    pictures = sum(len(message.pictures) for message in request.messages)
    return said // CHARACTERS + 16 * len(request.messages) + PICTURE * pictures, asking.most_tokens
