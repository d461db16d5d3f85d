"""What is shown while a model is asked: how many conversations are done, the rate, what was spent, the time left."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ruleshift.commands.bars import Bar
    from ruleshift.commands.policies import Policy
    from ruleshift.engines.api import ApiModel
    from ruleshift.engines.spending import Spending


class Following:
    """Advances a bar with every verdict."""

    def __init__(self, bar: "Bar", policy: "Policy") -> None:
        self.bar, self.remote = bar, policy.remote
        self.began, self.verdicts = time.monotonic(), 0

    def start_at(self, done: int) -> None:
        self.bar.start_at(done)

    def __call__(self, ended: int) -> None:
        self.verdicts += 1
        rate = self.verdicts / max(time.monotonic() - self.began, 1e-3)
        spent = "" if self.remote is None else f", {spent_in_words(self.remote.spending)}"
        self.bar.reach(self.bar.done + ended, f"{rate:.1f} replies/s{spent}")


def spent_in_words(spending: "Spending") -> str:
    """Requests, tokens and money."""
    thought = f" ({spending.thought_tokens:,} of thinking)" if spending.thought_tokens else ""
    parts = [
        f"{spending.requests:,} requests",
        f"{spending.prompt_tokens:,} + {spending.reply_tokens:,} tokens{thought}",
    ]
    if spending.money:
        parts.append(f"cost {spending.money:.4g}")
    return ", ".join(parts)


def served_facts(remote: "ApiModel") -> Mapping[str, object]:
    """Who answered, as the server names it, and what it took, for the record."""
    spending = remote.spending
    return {
        "base_url": remote.server.base_url,
        "models": sorted({name for name, _ in remote.identity.known}),
        "fingerprints": sorted({mark for _, mark in remote.identity.known if mark}),
        "requests": spending.requests,
        "prompt_tokens": spending.prompt_tokens,
        "reply_tokens": spending.reply_tokens,
        "thought_tokens": spending.thought_tokens,
        "cost": spending.money,
    }
