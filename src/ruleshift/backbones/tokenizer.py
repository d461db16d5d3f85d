"""The word-level tokenizer of the bundled backbones.

Words, integers below 100 and the fixed pieces of a reply's JSON are one token each; spaces are dropped (terse
replies hold none, so decoding gives a reply back to the letter). Anything else is `<unk>`.
"""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<unk>", "<user>", "<bot>", "<end>")
JSON_PIECES = ('{"cards":["', '","', '"],"number":[', ",", '],"formula":"', '"}')
SYMBOLS = ("+", "-", "*", "/", "(", ")", "=")
RANKS = ("A", "J", "Q", "K")
WORDS = ("target", "cards", "right", "wrong", "value", "none", "numbers", "extra", "missing", "illegal", "unreadable")

_PATTERN = (
    r"<user>|<bot>|<end>|"
    r"\{\"cards\":\[\"|\"\],\"number\":\[|\],\"formula\":\"|\",\"|\"\}|"
    r"[0-9]{1,2}|[A-Za-z]+|\S"
)
_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}{{ message.content }}<end>"
    "{% else %}<user>{{ message.content }}<bot>{% endif %}"
    "{% endfor %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, with its chat template: `<user>prompt<bot>reply<end><user>feedback<bot>reply<end>`."""
    numbers = tuple(str(number) for number in range(100))
    padded = tuple(f"0{digit}" for digit in range(10))  # the second half of integers such as 105
    words = SPECIAL + JSON_PIECES + SYMBOLS + RANKS + WORDS + numbers + padded
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PATTERN), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Fuse()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        additional_special_tokens=["<user>", "<bot>"],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = _TEMPLATE
    return wrapped
