"""Reading fields out of a model's reply: strictly, as JSON in the requested form, or tolerantly, out of any text.

`docs/replies.md` lists what is read and what is not. Reading takes a time linear in the length of the text: patterns
are bounded and possessive, and decoding has a budget.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache

from ruleshift.tasks.objects import DOUBLE, SINGLE, json_string, mended, objects_with

MAX_REPLY = 100_000
Fields = Mapping[str, object]
_NEARLY = 20_000  # characters at the end, in which what is not JSON to the letter is looked for
_ECHO = re.compile(r"\.\.\.|…|<[^<>]{0,60}+>|\A\W{0,9}+(?:your\b|\Z)", re.IGNORECASE)


def strict_fields(text: str, names: Collection[str]) -> dict | None:
    """The reply as a JSON object with exactly these fields, else None."""
    if len(text) > 4_000 or text.lstrip()[:1] != "{" or text.count("[") > 100 or text.count("{") > 100:
        return None
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and set(fields) == set(names) else None


def read_fields(text: str, key: str, answers: Callable[[object], bool], in_words: Callable[[str], Fields]) -> Fields:
    """The fields of the answer in a reply that is not in the requested form.

    What counts is the last JSON object, outside any thinking, whose `key` holds something that `answers` (an echo of
    the form does not), or None, with which an answer is taken back. Where there is none: the last such object of what
    is nearly JSON, then what `in_words` finds by patterns, at last whatever stands under `key`.
    """
    text = without_thinking(text)
    rest: Fields = {}
    for found in _levels(text, key, in_words):
        for fields in reversed(found):
            if key in fields and (fields[key] is None or answers(fields[key])):
                return fields
        rest = rest or (found[-1] if found else {})
    return rest


def is_echo(text: str) -> bool:
    """Whether a value stands for one instead of giving it, as in the form that a prompt asks for."""
    return _ECHO.search(text) is not None


def _levels(text: str, key: str, in_words: Callable[[str], Fields]) -> Iterator[list[Fields]]:
    """What can be read as fields, from the surest reading to the loosest."""
    yield list(objects_with(text, key))
    end = text.rstrip()[-_NEARLY:]
    nearly = mended(end)
    if nearly != end:
        yield list(objects_with(nearly, key))
    yield [in_words(end)]


# ---------------------------------------------------------------- thinking

_THINK = "th(?:ink|inking|oughts?)"
_TAGGED = rf"(?:[a-z]\w{{0,20}}[:_-]|ant)?{_THINK}(?:\s[^<>]{{0,60}}+)?>"
_REASON = "(?:reason(?:ing)?|rationale)(?:_content)?>"
_ASIDE = "(?:reflection|analysis|scratchpad|draft|plan(?:ning)?|(?:inner_)?monologue|cot)>"
_OF = "[_▁]?(?:of[_▁]?)?"
_BLOCKS = {  # how thinking opens, and how it closes
    "think": (f"<{_TAGGED}", f"</{_TAGGED}"),
    "reason": (f"<{_REASON}", f"</{_REASON}"),
    "aside": (f"<{_ASIDE}", f"</{_ASIDE}"),
    "bar": (
        rf"<[|｜](?:(?:begin|start)[_▁]?(?:of[_▁]?)?)?{_THINK}[|｜]>",
        rf"<[|｜](?:/|end[_▁]?(?:of[_▁]?)?){_THINK}[|｜]>",
    ),
    "bracket": (r"\[think\]", r"\[/think\]"),
    "triangle": ("◁think▷", "◁/think▷"),
    "channel": (r"<\|channel>", r"<channel\|>"),
    "unused": ("<unused94>", "<unused95>"),
}
_TAGS = "|".join(f"(?P<open_{kind}>{opens})|(?P<close_{kind}>{closes})" for kind, (opens, closes) in _BLOCKS.items())
_TAG = re.compile(rf"(?=[<\[◁][/|｜A-Za-z])(?i:{_TAGS})")
_FINAL = re.compile(r"<\|channel\|>\s{0,3}+final\s{0,3}+(?:<\|message\|>)?|assistantfinal")
_CHANNELS = re.compile(r"<\|channel\|>\s{0,3}+(?:analysis|commentary|final)|\A\s{0,9}+analysis(?=[A-Z])")


def without_thinking(text: str) -> str:
    """What a reply says outside its thinking.

    A block of thinking that is never closed goes on to the end, and one that is closed but not opened began before the
    reply (some chat templates open it in the prompt). Of a reply in channels, what follows the last `final` is said.
    """
    if _CHANNELS.search(text):
        final = last_match(_FINAL, text)
        text = text[final.end() :] if final else ""
    said: list[str] = []
    start, inside = 0, ""
    for tag in _TAG.finditer(text):
        does, kind = str(tag.lastgroup).split("_")
        if does == "open" and not inside:
            said.append(text[start : tag.start()])
            inside = kind
        elif does == "close" and not inside:
            said.clear()
            start = tag.end()
        elif does == "close" and kind == inside:
            start, inside = tag.end(), ""
    if not inside:
        said.append(text[start:])
    return "\n".join(said)


# ---------------------------------------------------------------- patterns

_MARKS = f"[{DOUBLE}{SINGLE}*]"
_IS = r"\s{0,20}+[:=：＝]\*{0,2}+\s{0,20}+(?:```[a-z]{0,10}\s{0,3}+)?"
_CLOSED = (
    r"""(?:"(?P<double>(?:[^"\\\n]|\\.){0,400}+)"|'(?P<single>[^'\n]{0,400}+)'"""
    r"""|“(?P<curly>[^”“"\n]{0,400}+)[”“"]"""
)
_END = r"""["“”]\s{0,5}+(?:[,}]|\Z)"""  # of a value whose opening quote is missing
_OTHER = re.compile(  # what stands before the name of a field that is not the answer's
    r"(?:previous|prior|earlier|old|wrong|incorrect|invalid|bad|example|sample)[\s_-]\Z", re.IGNORECASE
)
_DECODER = json.JSONDecoder(strict=False)
_LAST = 100  # matches of a pattern that are looked at


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    match = None
    for match in pattern.finditer(text):  # noqa: B007
        pass
    return match


@lru_cache(maxsize=100)
def named_list(name: str, most: int) -> re.Pattern[str]:
    """A pattern for the content, up to `most` characters, of a list in brackets under a name or its plural."""
    return re.compile(rf"{name}s?{_MARKS}{{0,3}}+{_IS}\[([^\[\]]{{0,{most}}}+)\]", re.IGNORECASE)


def named_value(text: str, name: str, answers: Callable[[object], bool], ends: str = _END) -> str | None:
    """The last value given to a field, quoted in any way, inside any amount of other text; None if there is none.

    One that `answers` wins over others, and a quoted name over a bare one, which may be prose. A value without quotes
    ends with its line, where the pattern `ends` matches, or with a brace that it did not open.
    """
    rest = None
    for pattern in _patterns(name, ends):
        for found in reversed(list(pattern.finditer(text))[-_LAST:]):
            if _OTHER.search(text[max(0, found.start() - 12) : found.start()]):
                continue
            value = _value(found)
            if value is not None and answers(value):
                return value
            rest = value if rest is None else rest
    return rest


@lru_cache(maxsize=100)
def _patterns(name: str, ends: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    words = r"[\s_-]?".join(map(re.escape, name.split()))
    value = rf"""{_IS}(?:{_CLOSED}|["'“]?+(?P<bare>(?:(?!{ends})[^\n]){{1,400}}+)))"""
    quoted = rf"[{DOUBLE}{SINGLE}]{words}[{DOUBLE}{SINGLE}]{value}"
    bare = rf"(?<![A-Za-z]){words}{_MARKS}{{0,3}}+{value}"
    return re.compile(quoted, re.IGNORECASE), re.compile(bare, re.IGNORECASE)


def _value(found: re.Match[str]) -> str | None:
    """The value of a matched field, JSON escapes resolved; None where nothing stands there."""
    if found["double"] is not None:
        return str(_DECODER.decode(json_string(found["double"]))).strip()
    if found["bare"] is not None:
        return _within_braces(found["bare"]).strip(" \t\r`$").removesuffix("**") or None
    return (found["single"] or found["curly"] or "").strip(" \t\r`$")


def _within_braces(text: str) -> str:
    """The text up to the first brace that closes what it did not open."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return text[:place]
    return text
