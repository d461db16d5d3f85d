"""The pretraining mixture of the bundled backbones: cards and walks under rules drawn for each conversation.

Pure functions of (seed, index). No rule of a training, validation or test split occurs in it.
"""

from ruleshift.chat import Chat, Sequences
from ruleshift.pretraining import cards, walks


def conversation(
    chat: Chat, retries: bool, walk_share: float, seed: int, index: int, picture: int | None = None
) -> Sequences:
    """The conversation at `index`, as token ids with the mask of its replies.

    retries: whether failed attempts come before right ones. A walk where the index falls into `walk_share` of all, a
    card problem otherwise. picture: pixels a side of the pictures in which cards and streets are seen; None where they
    are told.
    """
    before, after = int(index * walk_share), int((index + 1) * walk_share)
    if after > before:
        return walks.conversation(chat, walks.WITH_RETRIES if retries else walks.FIRST_TRIES, seed, before, picture)
    return cards.conversation(chat, cards.WITH_RETRIES if retries else cards.FIRST_TRIES, seed, index - before, picture)
