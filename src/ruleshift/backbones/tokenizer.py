"""The word-level tokenizer of the bundled backbones.

Words, integers below 100, the fixed pieces of a reply's JSON and a few fixed expressions ("slightly left") are one
token each; spaces between tokens are dropped (terse replies hold none, so decoding gives a reply back to the letter).
Anything else is `<unk>`.
"""

import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ruleshift.tasks.virl.route import SIDES
from ruleshift.tasks.virl.rules import POOL
from ruleshift.tasks.virl.verifier import FIELDS
from ruleshift.tasks.virl.world.names import FIRST, KINDS
from ruleshift.templates import WORDS

SPECIAL = ("<pad>", "<unk>", "<user>", "<bot>", "<end>")
CARD_PIECES = ('{"cards":["', '","', '"],"number":[', ",", '],"formula":"', '"}')
WORK_PIECES = ('],"steps":["', '"],"formula":"', ";")  # last, so that what was learned without them keeps its place
WALK_PIECES = (*(opening + f'"{name}":"' for opening, name in zip(("{", '",', '",'), FIELDS, strict=True)),)
CALLS = ("turn_direction(", "forward()", "stop()")
SYMBOLS = ("+", "-", "*", "/", "(", ")", "=")
RANKS = ("A", "J", "Q", "K")
CARD_WORDS = "target cards right wrong value none numbers extra missing illegal unreadable".split()  # noqa: SIM905
WALK_WORDS = "facing space turn until to see cross forward stop misread led Park".split()  # noqa: SIM905


def _vocabulary() -> dict[str, int]:
    numbers = tuple(str(number) for number in range(100))
    padded = tuple(f"0{digit}" for digit in range(10))  # the second half of integers such as 105
    cards = (*CARD_PIECES, *SYMBOLS, *RANKS, *CARD_WORDS, *numbers, *padded)
    walks = (*WALK_PIECES, *CALLS, *WALK_WORDS, *POOL, *SIDES, *FIRST, *KINDS)
    words = dict.fromkeys((*SPECIAL, *cards, *walks, *WORK_PIECES))
    return {word: index for index, word in enumerate(words)}


def _pattern(vocabulary: dict[str, int]) -> str:
    """Fixed pieces and expressions first, the longest of them before the others; then integers, words and symbols."""
    fixed = [word for word in vocabulary if not re.fullmatch(r"[0-9]+|[A-Za-z]+|\W", word)]
    pieces = "|".join(re.escape(word) for word in sorted(fixed, key=len, reverse=True))
    return pieces + r"|[0-9]{1,2}|[A-Za-z]+|\S"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, with its chat template: `<user>prompt<bot>reply<end><user>feedback<bot>reply<end>`."""
    vocabulary = _vocabulary()
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_pattern(vocabulary)), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Fuse()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        additional_special_tokens=["<user>", "<bot>"],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = WORDS
    return wrapped
