"""Objects of JSON, and of what is nearly JSON, inside any other text.

Decoding starts at every brace that can open an object and goes on behind its end. What fails is paid for out of a
budget, so that reading is linear in the length of the text, whatever it holds.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator

MOST = 2_000  # braces, counted from the end
ATTEMPTS, FAILED_CHARACTERS = 100, 20_000  # that may come to nothing
_NESTED = 5_000  # characters that objects nested too deeply are counted as

_OPENING = re.compile(r'\{(?=\s{0,50}+")')
_DECODER = json.JSONDecoder(strict=False)


def objects_with(text: str, key: str) -> Iterator[dict[str, object]]:
    """The JSON objects that have a plain value under `key`, in order; of nested ones the outermost, inside texts too.

    Keys are compared, and given, in lower case with spaces for underscores and hyphens. Of a list of objects that say
    different things under `key` (alternatives, a plan) comes one with None in their place.
    """
    for values in _decoded(text):
        yield from _holders(values, key)


def _decoded(text: str) -> Iterator[list[object]]:
    """The outermost objects that can be decoded, those together that only a comma parts."""
    attempts, failed, end = 0, 0, 0
    together: list[object] = []
    for opening in list(_OPENING.finditer(text))[-MOST:]:
        start = opening.start()
        if start < end:
            continue
        if attempts == ATTEMPTS or failed > FAILED_CHARACTERS:
            break
        if together and text[end:start].strip() != ",":
            yield together
            together = []
        try:
            value, end = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:  # which costs counting the lines before
            attempts, failed = attempts + 1, failed + error.pos - start
        except (ValueError, RecursionError):
            attempts, failed = attempts + 1, failed + _NESTED
        else:
            together.append(value)
    if together:
        yield together


def _holders(value: object, key: str) -> Iterator[dict[str, object]]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            value = _inside(value)
        if isinstance(value, dict):
            fields = {_words(name): content for name, content in value.items()}
            if key in fields and not isinstance(fields[key], dict | list):
                yield fields
                continue
            value = list(value.values())
        elif isinstance(value, list) and _differ(value, key):
            yield {key: None}
            continue
        if isinstance(value, list):
            waiting += reversed(value)


def _inside(text: str) -> object:
    """The object that a text is, as the arguments of a call are; else None."""
    try:
        return _DECODER.decode(text) if _OPENING.match(text) and text.endswith("}") else None
    except (ValueError, RecursionError):
        return None


def _differ(items: list[object], key: str) -> bool:
    """Whether objects that stand side by side say different things under a key."""
    said = [
        content for item in items if isinstance(item, dict) for name, content in item.items() if _words(name) == key
    ]
    return any(content != said[0] for content in said)


def _words(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


# ---------------------------------------------------------------- nearly JSON

DOUBLE, SINGLE = '"“”„‟«»＂', "'‘’‚‛`＇"
_STRING = re.compile(rf"[{{\[,:｛［，：]\s{{0,20}}+([{DOUBLE}{SINGLE}])")
_ENDS = {family: re.compile(rf"[\n\r]|(?<!\\)[{family}](?=\s{{0,20}}+[}}\],:｝］，：])") for family in (DOUBLE, SINGLE)}
_COMMENT = re.compile(
    rf"""(?:^|(?<=[,{{}}\[\]{DOUBLE}{SINGLE}]))[^\S\n]{{0,50}}+(?://|#\s)[^\n]*+|(?<=[\s,{{])/\*[^*]*+\*/""",
    re.MULTILINE,
)
_HERE = "\0"  # where a string was taken out
_WRITTEN_AS_STRING = re.compile(r'\{\s{0,50}+\\"')
_ESCAPED = re.compile(r'\\(["\\])')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})' r"|\\'?" r'|"')
_ESCAPES = {"\\": "\\\\", "\\'": "'", '"': '\\"'}
_WIDE = str.maketrans("｛｝［］，：", "{}[],:")
_LAST_COMMA = re.compile(r",(?=\s{0,50}+[}\]])")
_BARE_KEY = re.compile(r"(?<=[{,])(\s{0,50}+)([A-Za-z][\w -]{0,40}?)(?=\s{0,5}:)")
_WORDS = {"True": "true", "False": "false", "None": "null"}
_WORD = re.compile("|".join(rf"\b{word}\b" for word in _WORDS))


def mended(text: str) -> str:
    """The text with what stands for JSON in it made JSON: quotes of any kind around names and values, backslashes and
    quotes inside, commas too many, names without quotes, Python's words, full-width punctuation, comments; and an
    object that is written as a string is written for itself.

    A value ends, on its line, with the first quote of its kind that a comma, colon or closing bracket follows, so that
    quotes and apostrophes inside it are its own.
    """
    text = _COMMENT.sub("", text.replace(_HERE, " "))
    if _WRITTEN_AS_STRING.search(text):
        text = _ESCAPED.sub(r"\1", text)
    ends: dict[str, list[int]] = {}
    between, strings, done = [], [], 0
    opening = _STRING.search(text)
    while opening is not None:
        start = opening.end()
        family = DOUBLE if opening[1] in DOUBLE else SINGLE
        if family not in ends:
            ends[family] = [end.start() for end in _ENDS[family].finditer(text)]
        places = ends[family]
        place = bisect_left(places, start)
        if place < len(places) and text[places[place]] not in "\n\r":
            between.append(text[done : start - 1])
            strings.append(json_string(text[start : places[place]]))
            start = done = places[place] + 1
        opening = _STRING.search(text, start)
    pieces = _structure(_HERE.join([*between, text[done:]])).split(_HERE)
    return "".join(piece + string for piece, string in zip(pieces, [*strings, ""], strict=True))


def json_string(body: str) -> str:
    """What stands between quotes of any kind as a string of JSON: backslashes and quotes that are its own escaped."""
    return '"' + _ESCAPE.sub(lambda found: _ESCAPES.get(found[0], found[0]), body) + '"'


def _structure(text: str) -> str:
    text = _LAST_COMMA.sub("", text.translate(_WIDE))
    text = _BARE_KEY.sub(r'\1"\2"', text)
    return _WORD.sub(lambda found: _WORDS[found[0]], text)
