"""Exercises in copying: the first phase of pretraining.

A model that answers by a stated rule has to look words up in its prompt. On walks alone a small model does not find
that out for a long time; a few minutes of plain repetition teach it.
"""

from ruleshift.chat import Chat, Sequences
from ruleshift.tasks.streams import stream

LOOKUPS = 2
_TURN_TOKENS = ("<user>", "<bot>", "<end>")


def conversation(chat: Chat, seed: int, index: int) -> Sequences:
    """Random words and their repetition, then some of the words, each answered by the one that followed it."""
    rng = stream("echo", seed, index)
    tokenizer = chat.tokenizer
    user, bot, end = (tokenizer.get_vocab()[token] for token in _TURN_TOKENS)
    special = set(tokenizer.all_special_ids)
    vocabulary = [token for token in range(len(tokenizer)) if token not in special]
    words = [rng.choice(vocabulary) for _ in range(rng.randint(2, 12))]
    exchanges = [(words, words)]
    for _ in range(LOOKUPS):
        place = rng.randrange(len(words) - 1)
        exchanges.append(([words[place]], [words[place + 1]]))
    ids: list[int] = []
    mask: list[int] = []
    for asked, answered in exchanges:
        ids += [user, *asked, bot, *answered, end]
        mask += [0] * (len(asked) + 2) + [1] * (len(answered) + 1)
    return Sequences(tuple(ids), tuple(mask))
