"""What ends a reply, or a thought in it, beside an end of turn: the label of the next speaker, and a budget."""

import torch

from ruleshift.chat import Chat


class Stopping:
    """One turn of `count` conversations of at most `steps` tokens each, the first `budget` of which may be a thought.

    `lengths` (B,) are the tokens up to a label, or `steps`.
    """

    def __init__(self, chat: Chat, budget: int, steps: int, count: int) -> None:
        self.chat, self.budget = chat, budget
        self.thought = chat.thought_ids if budget else None  # what begins one, and ends it
        self.lengths = torch.full((count,), steps)
        self.thinking = torch.full((count,), chat.opens_thought)  # (B,)

    def thought_through(self, token: torch.Tensor, step: int, rows: torch.Tensor) -> torch.Tensor:
        """The tokens (B') drawn at `step` by the conversations `rows`; thoughts that spent their budget are closed."""
        if self.thought is None:
            return token
        begin, end = self.thought
        drawn, rows = token.cpu(), rows.cpu()
        thinking = (self.thinking[rows] | (drawn == begin)) & (drawn != end)
        if step >= self.budget:
            drawn[thinking], thinking = end, torch.zeros_like(thinking)
        self.thinking[rows] = thinking
        return drawn.to(token.device)

    def labelled(self, tokens: torch.Tensor, step: int, rows: torch.Tensor, live: torch.Tensor) -> torch.Tensor:
        """Which of the `live` conversations `rows` (B',) wrote the label of the next speaker, up to `step` of `tokens`
        (T, B)."""
        found = torch.zeros_like(live)
        if self.chat.stop is not None:
            written = tokens[max(0, step - 15) : step + 1].t().tolist()
            for place in live.nonzero()[:, 0].tolist():
                row = int(rows[place])
                if self.chat.labelled(written[row]):
                    found[place], self.lengths[row] = True, step + 1
        return found
