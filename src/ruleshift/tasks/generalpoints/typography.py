"""Formulas as they are typeset, in LaTeX, Markdown or Unicode, in the signs of the grammar."""

import re

_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # full-width forms of ASCII
_SIGNS = {
    **dict.fromkeys("×·⋅∗•∙✕✖⨯", "*"),
    **dict.fromkeys("÷∕⁄➗", "/"),
    **dict.fromkeys("−–—‐‑‒﹣➖", "-"),
    **dict.fromkeys("﹢➕", "+"),
    **dict.fromkeys("[{［｛", "("),
    **dict.fromkeys("]}］｝", ")"),
    **dict.fromkeys("$\u200b\u200c\u200d\u200e\u200f\u2060\u2062\ufeff\u00ad\ufe0e\ufe0f", ""),
}
_PLAIN = str.maketrans(_WIDE | {ord(sign): plain for sign, plain in _SIGNS.items()})

_ESCAPED = {"\t": "\\t", "\f": "\\f", "\b": "\\b", "\r": "\\r"}
_UNESCAPED = re.compile(r"\t(?=imes|frac|ext)|\f(?=rac|box)|\x08(?=oxed|ig|ullet)|\r(?=ight)")
_FRACTION = re.compile(r"\\[dtc]?frac\s{0,9}+\{([^{}]*+)\}\s{0,9}+\{([^{}]*+)\}")
_COMMANDS = [
    (re.compile(r"\\{1,4}+(?:times|cdot|ast|bullet)(?![A-Za-z])"), "*"),
    (re.compile(r"\\{1,4}+div(?![A-Za-z])"), "/"),
    (
        re.compile(
            r"\\{1,4}+(?:left|right|[bB]igg?[lr]?|boxed|fbox|displaystyle|quad|qquad|text|math(?:rm|bf|tt|sf|it))(?![A-Za-z])"
        ),
        " ",
    ),
    (re.compile(r"\\{1,2}+[,;:! ]"), " "),
    (re.compile(r"\\{1,2}+(?=[-+*/()\[\]{}=$])"), ""),
]
_ENTITIES = re.compile("&(times|divide|minus|middot|nbsp);")
_NAMED = {"times": "*", "divide": "/", "minus": "-", "middot": "*", "nbsp": " "}
_LETTER = re.compile(r"(?<=[0-9)])(\s{0,9}+)[xX](?=\s{0,9}+[0-9(])")


def plain(text: str) -> str:
    r"""The text with all signs of multiplication, division and so on as `* / - +`, all brackets as parentheses,
    fractions as divisions, and without what only sets type.

    A decoder of JSON makes a tab of the first two characters of `\times` where they are not escaped; this is undone.
    """
    text = _UNESCAPED.sub(lambda found: _ESCAPED[found[0]], text)
    if "\\" in text:
        text = _without_commands(text)
    if "&" in text:
        text = _ENTITIES.sub(lambda found: _NAMED[found[1]], text)
    return _LETTER.sub(r"\1*", text.translate(_PLAIN))


def _without_commands(text: str) -> str:
    count = 1
    while count:  # fractions from the inside out
        text, count = _FRACTION.subn(r"((\1)/(\2))", text)
    for command, sign in _COMMANDS:
        text = command.sub(sign, text)
    return text
