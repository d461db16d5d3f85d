"""How often each token of a reply counts in its ratio: answers fully, what stands before them less."""

from collections.abc import Callable, Sequence

LAST = 5  # tokens that are the answer where its key is not found


def token_counts(
    ids: Sequence[int], decode: Callable[[Sequence[int]], str], key: str, before: float, skipped: int
) -> list[float]:
    """1 for the tokens of a reply from the quote on that opens `key` (a key of its JSON object), `before` for those
    ahead of it, and 0 for the first `skipped`. Without that key (or an empty one) the last five tokens are the answer.

    Source: the official code of arXiv 2501.17161 (`thought_prob_coef`, from RL4VLM, arXiv 2405.10292), where the key is
    `formula` and is never found in V-IRL.
    """
    start = _token_of(ids, decode, f'"{key}"') if key else None
    if start is None:
        start = max(0, len(ids) - LAST)
    return [0.0 if i < skipped else before if i < start else 1.0 for i in range(len(ids))]


def _token_of(ids: Sequence[int], decode: Callable[[Sequence[int]], str], text: str) -> int | None:
    """The token in which a text begins that stands in the reply, its first appearance; None if it does not."""
    place = decode(ids).find(text)
    if place < 0:
        return None
    low, high = 0, len(ids) - 1  # the first token with which the decoded text reaches beyond `place`
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(decode(ids[: middle + 1])) > place else (middle + 1, high)
    return low
