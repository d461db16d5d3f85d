"""How much of an answer comes from the rule that the prompt states: what changes when only its words are exchanged.

Each problem is asked twice, under its own rule (prompt A) and under another (prompt B), and the expert's reply to each
(a, b) is read after both. The rules are the training rule and one of a validation shift, so that no test split is
touched. P problems, L levels (see `patching`).
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from ruleshift.backbones.head import logits_of
from ruleshift.chat import Chat
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.evaluation.kl import token_kl
from ruleshift.evaluation.patching import attention_to, exchanged_places, patched, states_at
from ruleshift.evaluation.statistics import pooled_share
from ruleshift.revision import revise
from ruleshift.tasks.protocol import Exchangeable, Style, Task, TaskProblem, how_many
from ruleshift.training.trajectories import Trajectory, reply_states, token_logprobs

ASKED, OTHER = "id-val", "val-shift-a"  # the split whose problems are asked, and the one whose rule is put in
SEED = 11
LOOKED_AT = 4  # problems for each that is wanted: not every one has another answer under the other rule
MAX_TOKENS = 3_000  # of a pass
LEAST = 1e-3  # nats: an answer that moves by less does not depend on the rule


@dataclass(frozen=True)
class RuleFlow:
    """What single problems say of the flow from rule to answer.

    kl: KL(model after A || model after B) of the next token, summed over reply a, in nats (P). follows, clings: whether
    the greedy reply to B answers by the rule of B, or by that of A (P). moved: how far the log-odds of b against a rise
    from A to B, in nats (P). carried: how far they rise when A is read, and after a level goes on with what B carries
    at the words of the rule (L, P). attention: the share of its attention that reply a pays to them (layers, P).
    aligned: whether these words are as many tokens in both prompts (P).
    """

    kl: tuple[float, ...]
    follows: tuple[int, ...]
    clings: tuple[int, ...]
    moved: tuple[float, ...]
    carried: tuple[tuple[float, ...], ...]
    attention: tuple[tuple[float, ...], ...]
    aligned: tuple[int, ...]

    def shares(self) -> list[list[float]]:
        """For each level, the share of the whole move that what the rule's words carry there brings about: per problem,
        a number whose mean it is (see `pooled_share`). 1: all of the rule is still to be read from its own words; 0:
        other places have read it, or nobody does. 0 throughout where the answer does not depend on the rule."""
        if sum(self.moved) / len(self.moved) < LEAST:
            return [[0.0] * len(self.moved) for _ in self.carried]
        return [pooled_share(level, self.moved) for level in self.carried]


def exchanges(task: Task, style: Style, n: int) -> list[tuple[TaskProblem, TaskProblem]]:
    """The first `n` problems of `id-val` (or as many as there are among four times as many) that have another answer
    under another rule, under both. None where the task has no such problems, or shows pictures."""
    if task.pictures or not {ASKED, OTHER} <= set(task.splits()):
        return []

    def found() -> Iterator[tuple[TaskProblem, TaskProblem]]:
        for index in range(how_many(task, ASKED, LOOKED_AT * n)):
            problem = task.problem(ASKED, SEED, index, style)
            pair = problem.exchanged(OTHER) if isinstance(problem, Exchangeable) else None
            if pair is not None:
                yield pair

    return list(islice(found(), n))


def rule_flow(
    model: PreTrainedModel, chat: Chat, pairs: Sequence[tuple[TaskProblem, TaskProblem]], max_new_tokens: int
) -> RuleFlow:
    """Measure the flow on problems under both rules. Raises ValueError without any, RuleshiftError for a model that
    cannot be read (`levels_of`)."""
    if not pairs:
        raise ValueError("no problem has another answer under another rule")
    was_training = model.training
    model.eval()
    traces = [_traced(model, chat, own, other) for own, other in pairs]
    follows, clings = _followed(model, chat, pairs, max_new_tokens)
    model.train(was_training)
    return RuleFlow(
        kl=tuple(trace.kl for trace in traces),
        follows=follows,
        clings=clings,
        moved=tuple(trace.moved for trace in traces),
        carried=tuple(zip(*(trace.carried for trace in traces), strict=True)),
        attention=tuple(zip(*(trace.attention for trace in traces), strict=True)),
        aligned=tuple(trace.aligned for trace in traces),
    )


def _followed(
    model: PreTrainedModel, chat: Chat, pairs: Sequence[tuple[TaskProblem, TaskProblem]], max_new_tokens: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Whether the greedy replies to B answer by the rule of B, and by that of A."""
    engine = LocalEngine(model, chat, Sampling(0.0, max_new_tokens))
    episodes = revise([copy.copy(other) for _, other in pairs], engine, 1)  # some move on as they are asked
    said = [episode.turns[0].completion.text for episode in episodes]
    follows = tuple(_follows(other, text) for (_, other), text in zip(pairs, said, strict=True))
    return follows, tuple(_follows(own, text) for (own, _), text in zip(pairs, said, strict=True))


def _follows(problem: TaskProblem, text: str) -> int:
    return int(isinstance(problem, Exchangeable) and problem.follows(text))


class _Trace(NamedTuple):
    """What one problem says; see RuleFlow."""

    kl: float
    moved: float
    carried: list[float]
    attention: list[float]
    aligned: int


@torch.no_grad()
def _traced(model: PreTrainedModel, chat: Chat, own: TaskProblem, other: TaskProblem) -> _Trace:
    a, b = (chat.encode_prompt(problem.context()) for problem in (own, other))
    replies = [chat.encode_reply(problem.gold()) for problem in (own, other)]
    after_a, after_b = ([_read_after(prompt, reply) for reply in replies] for prompt in (a, b))
    places = exchanged_places(a, b)
    (at_a,) = _read(model, after_a)
    with states_at(model, _in_rows(0, places[1], model.device)) as states:
        (at_b,) = _read(model, after_b)
    risen = []
    at_once = max(1, MAX_TOKENS // (2 * max(len(row.ids) for row in after_a)))
    for first in range(0, len(states), at_once):
        levels = range(len(states))[first : first + at_once]
        writes = {level: (_in_rows(2 * i, places[0], model.device), states[level]) for i, level in enumerate(levels)}
        with patched(model, writes):
            risen += [one.odds - at_a.odds for one in _read(model, after_a * len(levels))]
    paid = attention_to(
        model,
        torch.tensor(after_a[0].ids, device=model.device),
        range(len(a) - 1, len(a) - 1 + len(replies[0])),  # from where the tokens of a are drawn
        places[0],
    )
    kl = float(token_kl(at_a.reply_a, at_b.reply_a).sum())
    return _Trace(kl, at_b.odds - at_a.odds, risen, paid.tolist(), int(len(a) == len(b)))


def _read_after(prompt: Sequence[int], reply: Sequence[int]) -> Trajectory:
    first, count = len(prompt), len(reply)
    places, turn, unknown = tuple(range(first, first + count)), (0,) * count, (0.0,) * count
    return Trajectory((*prompt, *reply), places, turn, unknown, (first - 1,), (0.0,))


def _in_rows(first: int, columns: Sequence[int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """These places in two rows of a batch, the first of which is given."""
    rows = torch.arange(first, first + 2, device=device).repeat_interleave(len(columns))
    return rows, torch.tensor([*columns, *columns], dtype=torch.long, device=device)


class _Reading(NamedTuple):
    """Logits (T, V) along reply a, and log p(b) - log p(a), after a prompt."""

    reply_a: torch.Tensor
    odds: float


def _read(model: PreTrainedModel, rows: Sequence[Trajectory]) -> list[_Reading]:
    """Replies a and b after the same prompt, once or several times in one pass."""
    found = reply_states(model, rows)
    lengths = [len(row.positions) for row in rows]
    logprobs, _ = token_logprobs(model, found.before, found.tokens)
    sums = [float(part.sum()) for part in logprobs.split(lengths)]
    along = logits_of(model, found.before).split(lengths)
    return [_Reading(along[i], sums[i + 1] - sums[i]) for i in range(0, len(rows), 2)]
