"""What a server's answers cost, and the most that they may."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ruleshift.bounds import Count, NotNegative, Positive, check_bounds
from ruleshift.engines.protocol import NoMoreAnswers
from ruleshift.errors import RuleshiftError
from ruleshift.records import Served


@dataclass(frozen=True)
class Budget:
    """The most that an evaluation may take, earlier calls included, and what a server takes for it."""

    most_requests: Count | None = None
    """Stop before the server is asked more often than this, failed attempts included."""
    most_tokens: Count | None = None
    """Stop before prompts and replies can exceed this many tokens."""
    most_money: Positive | None = None
    """Stop before it can cost more than this, by the prices below."""
    price_in: NotNegative = 0.0
    """Price of a million tokens of prompts."""
    price_out: NotNegative = 0.0
    """Price of a million tokens of replies, thinking included."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.most_money is not None and not (self.price_in or self.price_out):
            raise RuleshiftError("--most-money needs prices: --price-in and --price-out, per million tokens")

    @property
    def counts_tokens(self) -> bool:
        return self.most_tokens is not None or self.most_money is not None

    def cost(self, prompt_tokens: int, reply_tokens: int) -> float:
        """In money."""
        return (prompt_tokens * self.price_in + reply_tokens * self.price_out) / 1e6


@dataclass(frozen=True)
class Event:
    """A request that is made; or, where `failed` says why, one that failed, with the tokens that it is known to have
    taken all the same."""

    failed: str = ""
    prompt_tokens: int = 0
    reply_tokens: int = 0
    thought_tokens: int = 0


@dataclass(frozen=True)
class Ledger:
    """The events of earlier calls, and who keeps further ones."""

    events: Sequence[Event] = ()
    keep: Callable[[Event], None] = lambda event: None


@dataclass
class Spending:
    """What was spent so far, earlier calls included. `pending` are the most tokens (of prompt, of reply) that each
    request on its way may take."""

    budget: Budget
    requests: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    thought_tokens: int = 0
    pending: list[tuple[int, int]] = field(default_factory=list)
    ledger: Ledger = Ledger()

    @property
    def money(self) -> float:
        return self.budget.cost(self.prompt_tokens, self.reply_tokens)

    def count(self, served: Served) -> None:
        """Add the tokens of a reply. Raises NoMoreAnswers where they are limited and the server does not count."""
        if self.budget.counts_tokens and None in (served.prompt_tokens, served.reply_tokens):
            raise NoMoreAnswers("the server counts no tokens, so they have no bound: take --most-requests instead")
        self._add(served)

    def fail(self, why: str, served: Served | None = None) -> None:
        """Add what a failed request took, as far as the server told."""
        counts = (0, 0, 0) if served is None else (served.prompt_tokens, served.reply_tokens, served.thought_tokens)
        event = Event(why, *(count or 0 for count in counts))
        self._add(event)
        self.ledger.keep(event)

    def go_on(self, replies: Iterable[Served], ledger: Ledger) -> None:
        """Add what earlier calls took: the tokens of their replies, and the events of their ledger."""
        for reply in replies:
            self._add(reply)
        for event in ledger.events:
            self._add(event)
        self.requests += sum(not event.failed for event in ledger.events)
        self.ledger = ledger

    def _add(self, taken: Served | Event) -> None:
        self.prompt_tokens += taken.prompt_tokens or 0
        self.reply_tokens += taken.reply_tokens or 0
        self.thought_tokens += taken.thought_tokens or 0

    def bound_before(self, most: tuple[int, int]) -> str | None:
        """The bound that could be exceeded by one more request, all on their way taking what they may at most."""
        budget = self.budget
        prompts, replies = map(sum, zip((self.prompt_tokens, self.reply_tokens), most, *self.pending, strict=True))
        if budget.most_requests is not None and self.requests + 1 > budget.most_requests:
            return f"--most-requests {budget.most_requests}"
        if budget.most_tokens is not None and prompts + replies > budget.most_tokens:
            return f"--most-tokens {budget.most_tokens}"
        if budget.most_money is not None and budget.cost(prompts, replies) > budget.most_money:
            return f"--most-money {budget.most_money:g}"
        return None

    @asynccontextmanager
    async def admitted(self, most: tuple[int, int]) -> AsyncIterator[None]:
        """One request, which takes at most so many tokens (of prompt, of reply).

        Waits for others where these may take less than they may at most. Raises NoMoreAnswers where the budget is
        spent.
        """
        while (bound := self.bound_before(most)) is not None:
            if not self.pending:
                raise NoMoreAnswers(f"the budget is spent ({bound}): raise it to go on")
            await asyncio.sleep(0.02)
        self.pending.append(most)
        self.requests += 1
        self.ledger.keep(Event())
        try:
            yield
        finally:
            self.pending.remove(most)
