"""Options of models behind servers: `--model api:NAME`."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import tyro

from ruleshift.bounds import Count, Natural, Positive, check_bounds
from ruleshift.engines.spending import Budget
from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from ruleshift.engines.api import ApiModel
    from ruleshift.engines.protocol import Sampling

AT = "@http"  # between a model and its address
OPENAI = "https://api.openai.com/v1"
NO_BUDGET = Budget()


@dataclass(frozen=True)
class Serving:
    """Where a model api:NAME is served, and how it is asked."""

    base_url: str | None = None
    """Of --model api:NAME: address of an OpenAI-compatible server, as http://localhost:8000/v1; by default OpenAI's. Or
    name it with the model, as api:NAME@http://localhost:8000/v1. Keys come from the environment only."""
    key_variable: str | None = None
    """Variable of the environment that holds the key; by default RULESHIFT_API_KEY, and OPENAI_API_KEY for OpenAI."""
    concurrency: Count = 16
    """Conversations at once."""
    timeout: Positive = 300.0
    """Seconds for an answer."""
    retries: Natural = 8
    """Attempts after one that failed (429, 5xx, time-out, broken or empty answer), each after a longer wait."""
    patience: Positive = 600.0
    """Longest wait in seconds that a server may ask for (Retry-After)."""
    logprobs: bool = False
    """Ask for log-probabilities, for calibration; some servers refuse."""
    body: str | None = None
    """More fields of every request, as a JSON object; null leaves one out: '{"seed": null, "reasoning_effort": "low"}'.
    """
    may_change: bool = False
    """Go on where the server names another model or fingerprint than before; the record says which reply is whose."""

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def url(self) -> str:
        """The address. Raises RuleshiftError for one that is none, or holds a password."""
        address = (self.base_url or OPENAI).rstrip("/")
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RuleshiftError(f"--base-url {address} is no address: give one as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            raise RuleshiftError("--base-url holds a password or a query, which would be recorded: set a key instead")
        return address

    @property
    def more(self) -> Mapping[str, Any]:
        """The fields of --body."""
        try:
            fields = {} if self.body is None else json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise RuleshiftError(f"--body is no JSON ({error}): give an object, as '{{\"seed\": null}}'") from error
        if not isinstance(fields, dict) or fields.keys() & {"model", "messages", "stream", "n"}:
            raise RuleshiftError("--body must be a JSON object, without model, messages, stream and n")
        return fields

    def key(self) -> str:
        """The key in the environment; none is fine for a server of one's own."""
        name = self.key_variable or ("RULESHIFT_API_KEY" if self.base_url else "OPENAI_API_KEY")
        found = os.environ.get(name, "").strip()
        if not found and (self.key_variable or not self.base_url):
            instead = "" if self.key_variable else ", or name a --base-url"
            if self.base_url:
                instead = ", or leave --key-variable out"
            raise RuleshiftError(f"there is no key in the environment: export {name}=...{instead}")
        if not (found.isascii() and found.isprintable()):
            raise RuleshiftError(f"the key in {name} holds characters that no key has: export it again")
        return found

    def asked(self) -> dict[str, Any]:
        """What replies may depend on, for the record."""
        return {"base_url": self.url, "logprobs": self.logprobs, "body": dict(self.more)}


ServingArguments = tyro.conf.FlagCreatePairsOff[Annotated[Serving, tyro.conf.arg(name="")]]
BudgetArguments = Annotated[Budget, tyro.conf.arg(name="")]


def serving_of(name: str, serving: Serving) -> Serving:
    """The options for a model that may bring its own address, as NAME@http://..."""
    name, at, address = name.partition(AT)
    return replace(serving, base_url=f"http{address}") if at else serving


def open_model(name: str, sampling: "Sampling", system: str | None, serving: Serving, budget: Budget) -> "ApiModel":
    """The model called `name` behind the server. Raises RuleshiftError for what cannot be asked."""
    from ruleshift.engines.api import ApiModel, Server, check_installed
    from ruleshift.engines.spending import Spending
    from ruleshift.engines.wire import Asking

    if not name:
        raise RuleshiftError("--model api: names no model: as api:gpt-4o-mini, or as the server lists it (/v1/models)")
    check_installed()
    serving, name = serving_of(name, serving), name.partition(AT)[0]
    server = Server(serving.url, serving.key(), serving.concurrency, serving.timeout, serving.retries, serving.patience)
    asking = Asking(name, sampling, system, serving.logprobs, serving.more)
    return ApiModel(server, asking, Spending(budget), serving.may_change)
