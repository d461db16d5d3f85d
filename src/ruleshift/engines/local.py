"""The local engine: batched sampling from a transformers causal LM in this process, with cache reuse across turns.

All conversations of a session share one cache. Each generated or appended token takes a column; conversations of
different lengths leave columns unused, which an additive mask hides and which are squeezed out at the next turn.
Positions count real tokens only, so a conversation gives the same numbers in any batch.

A picture is looked at once, when its message is read; what stays of it is its part of the cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from ruleshift.backbones.sampler import sampler_of
from ruleshift.backbones.vision import AnyView, View, view_of
from ruleshift.chat import Chat
from ruleshift.engines.columns import REMEDY, check_columns
from ruleshift.engines.forward import Forward, ModelForward, forward_of
from ruleshift.engines.protocol import Reply, Request, Sampling
from ruleshift.engines.stopping import Stopping
from ruleshift.engines.streams import stream_key, uniforms
from ruleshift.engines.window import Window
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.records import Completion, Message, Picture, StopReason

READ_AT_ONCE = 2**26  # scores of a layer's attention (new times all columns, over rows and heads): bounds memory
MOST_AT_ONCE = 256  # conversations
CACHED_AT_ONCE = 2**19  # numbers with which all of them fill a column of the cache, in the memory of a CPU
DROP_SHARE = 1 / 16  # of the rows that are computed: so many must have ended before they are moved out of the way


@dataclass(frozen=True)
class Piece:
    """Ids to read next in a conversation, the places (from, to) of those which the model wrote, and the pictures among
    them."""

    ids: tuple[int, ...]
    sampled: tuple[tuple[int, int], ...]
    pictures: tuple[Picture, ...]


class LocalEngine:
    """Samples from `model` through `chat`. The model is used as it is when a session is opened.

    batch_size: by default as many as `at_once` says. dtype: precision to sample in, where it is another than that of
    the weights: a session then has a copy of them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        chat: Chat,
        sampling: Sampling,
        batch_size: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.model, self.chat, self.sampling, self.dtype = model, chat, sampling, dtype
        self.batch_size = batch_size or at_once(model)
        self._is_checked = False

    def open(self, requests: Sequence[Request]) -> "LocalSession":
        return LocalSession(self, requests)

    def sync(self, model: PreTrainedModel) -> None:
        """Answer as this model does from now on."""
        self.model = model

    def check(self, forward: Forward) -> None:
        """Raise RuleshiftError, before the first pass, for a model whose replies would depend on the batch."""
        if not self._is_checked and type(forward) is ModelForward:  # all others are for families that are known
            check_columns(forward, forward.model)
        self._is_checked = True


class LocalSession:
    """Live conversations of a LocalEngine. Rows of all tensors are the live conversations, in order."""

    def __init__(self, engine: LocalEngine, requests: Sequence[Request]) -> None:
        self.engine, self.model, self.chat = engine, engine.model, engine.chat
        self.device = self.model.device
        with torch.inference_mode():
            if engine.dtype not in (None, self.model.dtype):
                self.model = sampler_of(self.model, engine.dtype)
            self.forward = forward_of(self.model)
        self.context_limit = context_limit(self.model)
        self.ends = torch.zeros(_vocabulary(self.model), dtype=torch.bool, device=self.device)
        self.ends[[token for token in self.chat.end_ids if 0 <= token < len(self.ends)]] = True
        self.window = self._empty_window(0)  # without the conversations of `prompts`
        self.keys = np.zeros(0, dtype=np.uint64)  # (B,)
        self.turns = np.zeros(0, dtype=np.uint64)  # replies so far, (B,)
        self.order = torch.arange(0)  # the conversation in each row of the window
        self.appended: list[tuple[int, ...]] = []
        self.unread: list[Piece] = []  # not yet in the window
        self.prompts: list[Piece] = []  # of conversations that start now
        self.completions: list[Completion] = []
        self.append((), (), requests)

    @torch.inference_mode()
    def generate(self) -> list[Reply]:
        was_training = self.model.training
        self.model.eval()
        try:
            self.engine.check(self.forward)
            tokens, logprobs = self._decode(self._read_new())
        finally:
            self.model.train(was_training)
        self.completions = []
        for ids, drawn_at in zip(tokens, logprobs, strict=True):
            stop: StopReason = "stop" if self.chat.ended(ids) else "length"
            self.completions.append(Completion(self.chat.decode(ids), tuple(ids), tuple(drawn_at), stop))
        self.turns += np.uint64(1)
        return [Reply(ids, completion) for ids, completion in zip(self.appended, self.completions, strict=True)]

    @torch.inference_mode()
    def append(self, keep: Sequence[int], feedback: Sequence[Message], joining: Sequence[Request] = ()) -> None:
        rows = list(keep)
        kept = [self.completions[row] for row in rows]
        appended = [
            self.chat.encode_feedback(message, completion.token_ids)
            for message, completion in zip(feedback, kept, strict=True)
        ]
        # The last sampled token was never fed to the model.
        self.unread = [
            Piece(completion.token_ids[-1:] + ids, ((0, 1),), message.pictures)
            for completion, ids, message in zip(kept, appended, feedback, strict=True)
        ]
        self.prompts = []
        for request in joining:
            piece, last = self._opening(request)
            self.prompts.append(piece)
            appended.append(last)
        self.appended = appended
        if rows:
            self.window.keep(self.order.argsort()[rows])
        else:
            self.window = self._empty_window(0)
        keys = [stream_key(self.engine.sampling.seed, request.id, request.sample) for request in joining]
        self.keys = np.concatenate([self.keys[rows], np.array(keys, dtype=np.uint64)])
        taken = np.array([len(request.said) for request in joining], dtype=np.uint64)
        self.turns = np.concatenate([self.turns[rows], taken])
        self.order = torch.arange(len(self.keys), device=self.device)

    def _opening(self, request: Request) -> tuple[Piece, tuple[int, ...]]:
        """What a conversation begins with here: its prompt, and what was said before if it is resumed; and the ids that
        lead to the reply to come."""
        first = len(request.messages) - 2 * len(request.said)
        last = self.chat.encode_prompt(request.messages[:first])
        ids, sampled = last, []
        for completion, message in zip(request.said, request.messages[first + 1 :: 2], strict=True):
            sampled.append((len(ids), len(ids) + len(completion.token_ids)))
            last = self.chat.encode_feedback(message, completion.token_ids)
            ids += completion.token_ids + last
        pictures = tuple(picture for message in request.messages for picture in message.pictures)
        return Piece(ids, tuple(sampled), pictures), last

    def _empty_window(self, rows: int) -> Window:
        return Window.empty(self.forward.new_cache(rows), rows, self.model.dtype, self.device)

    def _read_new(self) -> torch.Tensor:
        """Read what is new in every conversation; returns the logits after it, (B, V).

        Prompts are read in a window of their own, which then joins the others.
        """
        logits = [self._read(self.window, self.unread)] if self.unread else []
        if self.prompts:
            window = self._empty_window(len(self.prompts))
            logits.append(self._read(window, self.prompts))
            self.window.join(window)
        self.unread, self.prompts = [], []  # what was read stays in the window only
        return torch.cat(logits)

    def _read(self, window: Window, pieces: Sequence[Piece]) -> torch.Tensor:
        """Feed pieces to the model, padded on the left; returns the logits after the last id, (B, V)."""
        width = max(len(piece.ids) for piece in pieces)
        ids = torch.zeros(len(pieces), width, dtype=torch.long)  # a tokenizer's padding may have no embedding
        new = torch.zeros(len(pieces), width, dtype=torch.bool)
        given = torch.zeros_like(new)
        for row, piece in enumerate(pieces):
            start = width - len(piece.ids)
            ids[row, start:] = torch.tensor(piece.ids)
            new[row, start:] = True
            given[row, start:] = True
            for begin, end in piece.sampled:
                given[row, start + begin : start + end] = False
        ids, new = ids.to(self.device), new.to(self.device)
        view = view_of(self.model, self.chat.eye, ids, given.to(self.device), [piece.pictures for piece in pieces])
        some = columns_at_once(self.model, len(pieces), window.bias.shape[1] + width)
        for start in range(0, width, some):
            part = view and view.columns(start, start + some)
            logits = self._forward(window, ids[:, start : start + some], new[:, start : start + some], part)
        if isinstance(view, View) and view.after is not None:
            window.bend += view.after
        return logits

    def _forward(self, window: Window, ids: torch.Tensor, new: torch.Tensor, view: AnyView = None) -> torch.Tensor:
        """One pass over new columns of the leading rows: ids (B', T), `new` (B', T) marks real tokens.

        Returns the logits after the last column, (B', V).
        """
        position, mask = window.extend(new)
        limit = self.context_limit  # of what is read, and one more token that is drawn after it
        if mask.shape[-1] >= limit and int(window.lengths.max()) >= limit:
            raise RuleshiftError(
                f"a conversation outgrew the model's context of {limit} tokens: take fewer turns "
                "(--turns), a smaller limit of new tokens (--max-new-tokens), or a model with a longer context"
            )
        return self.forward(ids, position, mask, window.cache, view)

    def _decode(self, logits: torch.Tensor) -> tuple[list[list[int]], list[list[float]]]:
        """Sample until every conversation has ended: tokens of each, and their log-probs where they were drawn.

        Conversations that go on are moved to the leading rows of the window; the others are computed no more.
        """
        sampling, count = self.engine.sampling, len(logits)
        warmth = sampling.temperature or 1.0  # greedy replies are scored as drawn at 1
        steps = sampling.max_new_tokens + sampling.thinking_tokens
        stopping = Stopping(self.chat, sampling.thinking_tokens, steps, count)
        tokens = torch.zeros(steps, count, dtype=torch.long, device=self.device)
        logprobs = torch.zeros(steps, count, device=self.device)
        draws = uniforms(self.keys, self.turns, np.arange(steps)[:, None])  # (steps, B)
        draws_at = torch.from_numpy(draws).to(self.device)
        live = torch.ones(count, dtype=torch.bool, device=self.device)  # of the leading rows
        for step in range(steps):
            rows = self.order[: len(live)]
            token = draw(logits, draws_at[step, rows], sampling.temperature)  # (B',)
            token = stopping.thought_through(token, step, rows)
            tokens[step, rows] = token
            logprobs[step, rows] = (logits / warmth).log_softmax(dim=-1).gather(1, token[:, None])[:, 0]
            live = live & ~self.ends[token] & ~stopping.labelled(tokens, step, rows, live)
            left = int(live.sum())
            if left == 0 or step == steps - 1:
                break
            if left <= (1 - DROP_SHARE) * len(live):
                token, live = self._drop(token, live, left)
            logits = self._forward(self.window, token[:, None], live[:, None])
        if bool(logprobs.isnan().any()):
            raise Diverged(
                "the log-probabilities of the model are NaN (use one from before it diverged, or save or download it "
                "again)"
            )
        ended = self.ends[tokens]  # also after a label, where nothing or what does not count was drawn
        first = torch.where(ended.any(0), ended.int().argmax(0) + 1, steps)
        lengths = first.minimum(stopping.lengths.to(self.device)).tolist()
        cut = [matrix.t().tolist() for matrix in (tokens, logprobs)]
        return tuple([row[:n] for row, n in zip(rows_of, lengths, strict=True)] for rows_of in cut)  # type: ignore

    def _drop(self, token: torch.Tensor, live: torch.Tensor, left: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Move what has ended behind the `left` conversations that go on; returns `token` and `live` of those."""
        holes, movers = (~live[:left]).nonzero()[:, 0], live[left:].nonzero()[:, 0] + left
        self.window.swap(holes, movers)
        self.order[torch.cat([holes, movers])] = self.order[torch.cat([movers, holes])]
        token[holes] = token[movers]
        return token[:left], live.new_ones(left)


def draw(logits: torch.Tensor, draws: torch.Tensor, temperature: float) -> torch.Tensor:
    """A token of every row (B,), by inverting the cumulative distribution at the row's own draw; 0 is greedy."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    cumulative = torch.softmax(logits / temperature, dim=-1).cumsum(dim=-1, dtype=torch.float64)  # (B, V)
    found = torch.searchsorted(cumulative, (draws * cumulative[:, -1])[:, None])[:, 0]
    return found.clamp_(max=logits.shape[1] - 1)


def at_once(model: PreTrainedModel) -> int:
    """How many conversations it holds at once, unless another number is asked for: on a CPU fewer where each takes much
    memory, since there more of them are hardly quicker."""
    if model.device.type != "cpu":
        return MOST_AT_ONCE
    return max(1, min(MOST_AT_ONCE, CACHED_AT_ONCE // cached(model)))


def cached(model: PreTrainedModel) -> int:
    """Numbers in the cache for a token: keys and values of all layers."""
    config, heads = model.config.get_text_config(), _heads(model)
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return 2 * config.num_hidden_layers * width * (getattr(config, "num_key_value_heads", None) or heads)


def columns_at_once(model: PreTrainedModel, rows: int, columns: int) -> int:
    """How many new columns are read in one pass, of conversations that have so many columns then."""
    return max(1, READ_AT_ONCE // (rows * columns * _heads(model)))


def _heads(model: PreTrainedModel) -> int:
    """Of a layer. Raises RuleshiftError for a model without attention."""
    config = model.config.get_text_config()
    heads: int | None = getattr(config, "num_attention_heads", None)
    if not heads:
        raise RuleshiftError(
            f"models of the kind {config.model_type} have no attention over earlier tokens, but a state that no cache "
            f"of ours holds: {REMEDY}"
        )
    return heads


def context_limit(model: PreTrainedModel) -> int:
    """Most tokens of a conversation. Sliding windows are no limit. Positions of the kind `longrope` are told apart up
    to where their angles change: from there on, all of a conversation would have to be read again with the new ones."""
    config = model.config.get_text_config()  # by attribute, since some families keep these under names of their own
    limits = [getattr(config, "max_position_embeddings", None)]
    angles = getattr(config, "rope_parameters", None) or {}
    for kind in (angles, *(value for value in angles.values() if isinstance(value, dict))):  # some have it by layer
        if kind.get("rope_type") == "longrope":
            limits.append(kind.get("original_max_position_embeddings"))
    return min(limit or 10**9 for limit in limits)


def _vocabulary(model: PreTrainedModel) -> int:
    return model.get_output_embeddings().weight.shape[0]
