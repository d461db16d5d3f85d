"""The local engine: batched sampling from a transformers causal LM in this process, with cache reuse across turns.

All conversations of a session share one cache. Each generated or appended token takes a column; conversations of
different lengths leave columns unused, which an additive mask hides and which are squeezed out at the next turn.
Positions count real tokens only, so a conversation gives the same numbers in any batch.
"""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from ruleshift.chat import Chat
from ruleshift.engines.attention import fast_decoding
from ruleshift.engines.protocol import Reply, Sampling
from ruleshift.engines.streams import stream_key, uniforms
from ruleshift.engines.window import Window
from ruleshift.errors import RuleshiftError
from ruleshift.records import Completion, StopReason
from ruleshift.tasks.protocol import Problem

READ_AT_ONCE = 2**24  # entries of the attention mask (new columns times all columns, over rows): bounds memory


class LocalEngine:
    """Samples from `model` through `chat`. The model is used as it is at the time of each call (see `training`)."""

    def __init__(self, model: PreTrainedModel, chat: Chat, sampling: Sampling, batch_size: int = 256) -> None:
        self.model, self.chat, self.sampling, self.batch_size = model, chat, sampling, batch_size

    def open(self, problems: Sequence[Problem]) -> "LocalSession":
        return LocalSession(self, problems)


class LocalSession:
    """Live conversations of a LocalEngine. Rows of all tensors are the live conversations, in order."""

    def __init__(self, engine: LocalEngine, problems: Sequence[Problem]) -> None:
        self.engine, self.model, self.chat = engine, engine.model, engine.chat
        self.device = self.model.device
        self.context_limit = _context_limit(self.model)
        self.window = self._empty_window(0)  # without the conversations of `prompts`
        self.keys = np.zeros(0, dtype=np.uint64)  # (B,)
        self.turns = np.zeros(0, dtype=np.uint64)  # replies so far, (B,)
        self.appended: list[tuple[int, ...]] = []
        self.unread: list[tuple[int, ...]] = []  # ids not yet in the window
        self.prompts: list[tuple[int, ...]] = []  # of conversations that start now
        self.completions: list[Completion] = []
        self.append((), (), problems)

    @torch.inference_mode()
    def generate(self) -> list[Reply]:
        was_training = self.model.training
        self.model.eval()
        try:
            with fast_decoding(self.model):
                tokens, logprobs = self._decode(self._read_new())
        finally:
            self.model.train(was_training)
        self.completions = []
        for ids, drawn_at in zip(tokens, logprobs, strict=True):
            stop: StopReason = "stop" if ids[-1] in self.chat.end_ids else "length"
            self.completions.append(Completion(self.chat.decode(ids), tuple(ids), tuple(drawn_at), stop))
        self.turns += np.uint64(1)
        return [Reply(ids, completion) for ids, completion in zip(self.appended, self.completions, strict=True)]

    @torch.inference_mode()
    def append(self, keep: Sequence[int], feedback: Sequence[str], joining: Sequence[Problem] = ()) -> None:
        rows = list(keep)
        kept = [self.completions[row] for row in rows]
        appended = [
            self.chat.encode_feedback(text, ended=completion.stop_reason == "stop")
            for text, completion in zip(feedback, kept, strict=True)
        ]
        # The last sampled token was never fed to the model.
        self.unread = [completion.token_ids[-1:] + ids for completion, ids in zip(kept, appended, strict=True)]
        self.prompts = [self.chat.encode_prompt(problem.context()) for problem in joining]
        self.appended = appended + self.prompts
        if rows:
            self.window.keep(torch.tensor(rows, device=self.device))
        else:
            self.window = self._empty_window(0)
        keys = [stream_key(self.engine.sampling.seed, problem.id) for problem in joining]
        self.keys = np.concatenate([self.keys[rows], np.array(keys, dtype=np.uint64)])
        self.turns = np.concatenate([self.turns[rows], np.zeros(len(joining), dtype=np.uint64)])

    def _empty_window(self, rows: int) -> Window:
        return Window.empty(self.model.config.get_text_config().num_hidden_layers, rows, self.device)

    def _read_new(self) -> torch.Tensor:
        """Read what is new in every conversation; returns the logits after it, (B, V).

        Prompts are read in a window of their own, which then joins the others.
        """
        logits = [self._read(self.window, self.unread)] if self.unread else []
        if self.prompts:
            window = self._empty_window(len(self.prompts))
            logits.append(self._read(window, self.prompts))
            self.window.join(window)
        return torch.cat(logits)

    def _read(self, window: Window, pieces: Sequence[Sequence[int]]) -> torch.Tensor:
        """Feed ids to the model, padded on the left; returns the logits after the last one, (B, V)."""
        width = max(map(len, pieces))
        ids = torch.full((len(pieces), width), self.chat.pad_id)
        new = torch.zeros(len(pieces), width, dtype=torch.bool)
        for row, piece in enumerate(pieces):
            ids[row, width - len(piece) :] = torch.tensor(piece)
            new[row, width - len(piece) :] = True
        some = max(1, READ_AT_ONCE // (len(pieces) * (window.valid.shape[1] + width)))
        parts = zip(ids.to(self.device).split(some, dim=1), new.to(self.device).split(some, dim=1), strict=True)
        return [self._forward(window, *part) for part in parts][-1]

    def _forward(self, window: Window, ids: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """One pass over new columns: ids (B, T), `new` (B, T) marks real tokens. Returns last logits (B, V)."""
        before, width = window.valid.shape[1], ids.shape[1]
        position = window.valid.sum(1, keepdim=True) + new.cumsum(1) - 1
        window.valid = torch.cat([window.valid, new], dim=1)
        if window.valid.shape[1] > self.context_limit and int(window.valid.sum(1).max()) > self.context_limit:
            raise RuleshiftError(
                f"a conversation outgrew the model's context of {self.context_limit} tokens; use fewer --turns or a "
                "smaller --max-new-tokens"
            )
        allowed = window.valid[:, None, None, :].expand(-1, 1, width, -1)  # (B, 1, T, L)
        if width > 1:
            allowed = allowed & torch.ones(width, before + width, dtype=torch.bool, device=self.device).tril(before)
        mask = torch.zeros(allowed.shape, dtype=self.model.dtype, device=self.device)
        mask.masked_fill_(~allowed, torch.finfo(mask.dtype).min)
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position.clamp(min=0),
            past_key_values=window.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def _decode(self, logits: torch.Tensor) -> tuple[list[list[int]], list[list[float]]]:
        """Sample until every row has ended: tokens of each row, and their log-probs at temperature 1.

        Whenever half of the rows have ended, the others go on in a smaller window of their own.
        """
        count = len(logits)
        tokens: list[list[int]] = [[] for _ in range(count)]
        logprobs: list[list[float]] = [[] for _ in range(count)]
        ends = torch.tensor(sorted(self.chat.end_ids), device=self.device)
        rows = torch.arange(count, device=self.device)  # conversations of the current window
        live = torch.ones(count, dtype=torch.bool, device=self.device)
        outer: list[tuple[Window, torch.Tensor]] = []  # windows that were forked, with the rows of the fork
        window = self.window
        for step in range(self.engine.sampling.max_new_tokens):
            token = self._draw(logits, rows, step)  # (B,)
            logprob = torch.log_softmax(logits, dim=-1).gather(1, token[:, None])[:, 0]
            for row, alive, t, p in zip(rows.tolist(), live.tolist(), token.tolist(), logprob.tolist(), strict=True):
                if alive:
                    tokens[row].append(t)
                    logprobs[row].append(p)
            live = live & ~torch.isin(token, ends)
            left = int(live.sum())
            if left == 0 or step == self.engine.sampling.max_new_tokens - 1:
                break
            if left <= len(live) // 2:
                chosen = live.nonzero()[:, 0]
                outer.append((window, chosen))
                window, token, rows, live = window.fork(chosen), token[chosen], rows[chosen], live[chosen]
            logits = self._forward(window, token[:, None], live[:, None])
        for parent, chosen in reversed(outer):
            parent.merge(window, chosen)
            window = parent
        return tokens, logprobs

    def _draw(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        """The next token of every row (B,), by inverting the cumulative distribution at the row's own draw."""
        temperature = self.engine.sampling.temperature
        if temperature == 0:
            return logits.argmax(dim=-1)
        cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)  # (B, V)
        index = rows.cpu().numpy()
        draws = torch.from_numpy(uniforms(self.keys[index], self.turns[index], step)).to(self.device)
        found = torch.searchsorted(cumulative, (draws * cumulative[:, -1])[:, None])[:, 0]
        return found.clamp(max=logits.shape[1] - 1)


def _context_limit(model: PreTrainedModel) -> int:
    config = model.config.get_text_config().to_dict()
    return min(config.get("sliding_window") or 10**9, config.get("max_position_embeddings") or 10**9)
