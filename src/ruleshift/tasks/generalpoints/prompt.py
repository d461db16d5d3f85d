"""GeneralPoints in words: prompts, feedback, and replies, written and read.

Styles: `full` for language models, `terse` for small ones, `varied` (paraphrases, field order and rule wording drawn
per problem: the prompt-diversity arm). Replies are JSON objects with `cards`, `number`, `formula`; where the work is
shown (`stepwise`, which is terse otherwise, and `full-stepwise`), `steps` stand before the formula.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ruleshift.records import Feedback
from ruleshift.tasks.feedback import SILENT
from ruleshift.tasks.generalpoints.deal import Deal
from ruleshift.tasks.generalpoints.judgement import Judgement
from ruleshift.tasks.generalpoints.rules import RANKS, Rule
from ruleshift.tasks.generalpoints.steps import written_steps
from ruleshift.tasks.protocol import Style, is_terse, shows_work
from ruleshift.tasks.replies import (
    MAX_REPLY,
    Fields,
    is_echo,
    last_match,
    named_list,
    named_value,
    read_fields,
    strict_fields,
)
from ruleshift.tasks.streams import stream

_COUNTS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}

# ---------------------------------------------------------------- prompts


def prompt(hand: Deal, style: Style, problem_id: str, pictured: bool = False) -> str:
    """The first user message: the rule, the hand (not where it is `pictured`), and the form of the reply."""
    if is_terse(style):
        return _terse_prompt(hand, pictured)
    if style == "varied":
        return _varied_prompt(hand, problem_id, pictured)
    rule, count = hand.stated, len(hand.cards)
    return "\n".join(
        [
            f"You see {_COUNTS[count]} playing cards. Find an arithmetic formula over them that equals {rule.target}.",
            "",
            "Rules:",
            "1. Every card counts as a number, and the number of every card is used exactly once.",
            "2. You may use +, -, *, / and parentheses, and nothing else.",
            f"3. A counts 1, number cards count what they show, {_face_words(rule)}.",
            "",
            "Cards: those in the picture" if pictured else f"Cards: {', '.join(hand.ranks)}",
            "",
            "Reply with a single JSON object and no other text:",
            "{",
            '  "cards": the cards as a list of strings,',
            '  "number": what each card counts, as a list of integers in the same order,',
            *([_STEPS_LINE] if shows_work(style) else []),
            f'  "formula": your formula as a string that ends in "={rule.target}"',
            "}",
        ]
    )


_STEPS_LINE = (
    '  "steps": your work as a list of strings, one operation each with what is left after it, as in "8-2=6; 6, 3, 3",'
)


def rule_words(rule: Rule, style: Style) -> str:
    """A rule by itself."""
    if is_terse(style):
        j, q, k = rule.faces
        return f"J {j} Q {q} K {k} target {rule.target}"
    return f"The rule that holds: {_face_words(rule).removeprefix('and ')}; the formula equals {rule.target}."


def _face_words(rule: Rule) -> str:
    j, q, k = rule.faces
    if j == q == k:
        return f"and J, Q and K each count {j}"
    return f"and J counts {j}, Q counts {q} and K counts {k}"


def _terse_prompt(hand: Deal, pictured: bool) -> str:
    return " ".join([f"{rule_words(hand.stated, 'terse')} cards", *(() if pictured else hand.ranks)])


_OPENINGS = (
    "Make {target} out of these cards.",
    "Here is a hand of {count} cards; combine them so that the result is {target}.",
    "Puzzle: reach {target} with the cards below.",
    "Your goal is the number {target}. You hold {count} cards.",
)
_RULES = (
    "Each card must be used once, no more and no less; only + - * / and parentheses are permitted.",
    "Add, subtract, multiply, divide and group with parentheses as you like, using each card a single time.",
    "All cards take part exactly once. Operators: +, -, *, /. Parentheses may be placed freely.",
)
_FACES = (
    "Card values: A=1, J={j}, Q={q}, K={k}; 2 to 10 as printed.",
    "An ace is worth 1, a jack {j}, a queen {q} and a king {k}; the other cards are worth their number.",
    "For picture cards, J stands for {j}, Q for {q}, K for {k}. Aces are 1.",
)
_HANDS = ("Cards: {cards}", "Hand: [{cards}]", "You were dealt {cards}.")
_PICTURED = ("Cards: see the picture.", "Your hand is in the picture.", "You were dealt the cards that you see.")
_REPLIES = (
    'Answer only with JSON: "cards" (list of strings), "number" (list of integers), "formula" (string ending in '
    '"={target}").',
    'Give one JSON object with the keys "cards", "number" and "formula"; the formula closes with "={target}".',
)


def _varied_prompt(hand: Deal, problem_id: str, pictured: bool) -> str:
    rng = stream("gp-varied", problem_id)
    j, q, k = hand.stated.faces
    body = [rng.choice(_RULES), rng.choice(_FACES), rng.choice(_PICTURED if pictured else _HANDS)]
    rng.shuffle(body)
    text = "\n".join([rng.choice(_OPENINGS), *body, rng.choice(_REPLIES)])
    if pictured:
        text = text.replace("the cards below", "the cards shown")
    return text.format(
        target=hand.stated.target, count=_COUNTS[len(hand.cards)], j=j, q=q, k=k, cards=", ".join(hand.ranks)
    )


# ---------------------------------------------------------------- feedback


_OUTCOMES = {  # in words, and in the terse style
    "solved": ("Correct.", "right"),
    "wrong_value": (
        "The formula uses every card once, but it does not equal the target. Try another one.",
        "wrong value",
    ),
    "wrong_numbers": ("The formula does not use the number of every card exactly once.", "wrong numbers"),
    "illegal": ("The formula cannot be read. Write a complete formula over all the cards.", "illegal"),
    "misread": (
        "The reply does not state the cards in the picture. Look at it again, and state every card.",
        "misread",
    ),
    "unreadable": (
        'No formula was found. Reply with one JSON object that holds "cards", "number" and "formula".',
        "unreadable",
    ),
}


def feedback(judgement: Judgement, style: Style, level: Feedback = "full") -> str:
    """What the verifier tells the model: what was right and what was wrong, never a solution, and less of it below the
    level `full` (see `ruleshift.tasks.feedback`)."""
    if level != "full":
        said = SILENT if level == "silent" and judgement.outcome != "solved" else _OUTCOMES[judgement.outcome]
        return said[is_terse(style)]
    return _terse_feedback(judgement) if is_terse(style) else _full_feedback(judgement)


def _full_feedback(judgement: Judgement) -> str:
    target = judgement.target
    if judgement.outcome == "solved":
        return f"Correct: the formula uses every card once and equals {target}."
    if judgement.outcome in ("illegal", "prefix"):
        why = f": {judgement.reason}" if judgement.reason else ""
        return f"The formula cannot be read{why}. Write a complete formula over all the cards."
    if judgement.outcome == "misread":
        return "The reply does not state the cards in the picture. Look at it again, and state every card."
    if judgement.outcome == "unreadable":
        return 'No formula was found. Reply with one JSON object that holds "cards", "number" and "formula".'
    if judgement.outcome == "wrong_numbers":
        faults = []
        if judgement.foreign:
            faults.append(f"it uses {_listed(judgement.foreign)} beyond what the cards offer")
        if judgement.unused:
            faults.append(f"it leaves out {_listed(judgement.unused)}")
        fault = f"is well formed, but {' and '.join(faults)}" if faults else "does not use the right numbers"
        return f"The formula {fault}. Use the number of every card exactly once."
    if judgement.value is None:
        fault = f"it cannot be evaluated: {judgement.reason}" if judgement.reason else "it divides by zero"
        return f"The formula uses every card once, but {fault}. Try another one."
    if isinstance(judgement.value, float):
        words = f"in floating point it comes to {judgement.value}"
        return f"The formula uses every card once, but {words}, not {target}. Try another one."
    return f"The formula uses every card once, but it equals {judgement.value}, not {target}. Try another one."


def _listed(numbers: Sequence[int], at_most: int = 6) -> str:
    shown = ", ".join(map(str, numbers[:at_most]))
    return shown if len(numbers) <= at_most else f"{shown} and others"


def _terse_feedback(judgement: Judgement) -> str:
    if judgement.outcome == "solved":
        return "right"
    if judgement.outcome == "wrong_value":
        value = judgement.value
        return "wrong value none" if value is None else f"wrong value {value}"
    if judgement.outcome == "wrong_numbers":
        words = ["wrong numbers"]
        if judgement.foreign:
            words += ["extra", *map(str, judgement.foreign[:4])]
        if judgement.unused:
            words += ["missing", *map(str, judgement.unused[:4])]
        return " ".join(words)
    return judgement.outcome if judgement.outcome in ("unreadable", "misread") else "illegal"


# ---------------------------------------------------------------- replies


@dataclass(frozen=True)
class CardReply:
    """What was read from a reply. `formula` is None where none was found; `valid` is the strict reading. `cards` are
    ranks, other words as they stand. `steps` is the work shown, if any."""

    formula: str | None
    numbers: tuple[int, ...] | None
    valid: bool
    cards: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


def write_reply(ranks: Sequence[str], numbers: Sequence[int], formula: str, style: Style) -> str:
    """A reply in the requested form; without spaces in the terse style."""
    separators = (",", ":") if is_terse(style) else (", ", ": ")
    work = {"steps": written_steps(numbers, formula, separators[0])} if shows_work(style) else {}
    fields = {"cards": list(ranks), "number": list(numbers), **work, "formula": formula}
    return json.dumps(fields, separators=separators)


_NUMBERS = named_list("number", 200)
_CARDS = named_list("card", 400)
_RANKS_BY_NAME = {"ace": "A", "1": "A", "jack": "J", "queen": "Q", "king": "K"}
_RANK = "|".join(sorted((*map(str.lower, RANKS), *_RANKS_BY_NAME), key=len, reverse=True))
_CARD = re.compile(rf"({_RANK})\s*(?:(?:of\s*)?(?:clubs?|spades?|hearts?|diamonds?)|[cshd♣♠♥♦♧♤♡♢]\ufe0f?)?")
_ENDING = re.compile(r"=\s{0,9}+[0-9]{1,9}\W{0,9}\Z")
_DIGIT = re.compile("[0-9０-９]")
_NONE = re.compile(r"\W{0,9}+(?:no|none|not|null|cannot|impossible|unsolvable|unknown|n/a)\b", re.IGNORECASE)
_MOST_ITEMS = 100
_INTEGER = re.compile(r"(?<![\w.-])(-?[0-9]{1,9})(?:\.0)?(?![\w.])")


def read_reply(text: str, style: Style = "full") -> CardReply:
    """Read a model's reply, which is `valid` in the form that the style asks for. Never raises; text beyond 100,000
    characters is not read."""
    if len(text) > MAX_REPLY:
        return CardReply(None, None, False)
    fields = _strict(text, shows_work(style))
    if fields is not None:
        ranks, steps = tuple(map(rank_of, fields["cards"])), tuple(fields.get("steps", ()))
        return CardReply(fields["formula"], tuple(fields["number"]), True, ranks, steps)
    found = read_fields(text, "formula", _is_formula, _in_words)
    numbers, cards = _items(found, "number"), _items(found, "card")
    formula = found.get("formula")
    return CardReply(
        str(formula) if isinstance(formula, str | int | float) else None,
        None if numbers is None else tuple(map(int, _INTEGER.findall(", ".join(numbers)))),
        False,
        tuple(map(rank_of, cards or ())),
        tuple(_items(found, "step") or ()),
    )


def _is_formula(value: object) -> bool:
    """Whether a value gives a formula, or says that there is none, and does not echo the form of the reply."""
    if not isinstance(value, str) or is_echo(value):
        return False
    return _DIGIT.search(_ENDING.sub("", value)) is not None or _NONE.match(value) is not None


def _in_words(text: str) -> Fields:
    """The fields of a reply that holds no object."""
    lists = {"number": last_match(_NUMBERS, text), "card": last_match(_CARDS, text)}
    formula = named_value(text, "formula", _is_formula, ends="""[",“”']""")
    fields: Fields = {name: found[1].split(",") for name, found in lists.items() if found}
    return fields if formula is None else {"formula": formula, **fields}


def _items(fields: Fields, name: str) -> list[str] | None:
    """A list under a name or its plural (or a text that lists), as texts; None where there is none."""
    value = fields.get(name, fields.get(f"{name}s"))
    if isinstance(value, str):
        return value.strip("[]() ").split(",")[:_MOST_ITEMS]
    if not isinstance(value, list):
        return None
    return [str(item) if isinstance(item, str | int | float) else "" for item in value[:_MOST_ITEMS]]


def rank_of(word: str) -> str:
    """The rank that a word for a card names, with or without its suit (`K`, `king of clubs`, `10♠`); else the word."""
    found = _CARD.fullmatch(word.strip(" \t\r\n\"'`“”„‘’")[:40].lower())
    if found is None:
        return word
    return _RANKS_BY_NAME.get(found[1], found[1].upper())


def _strict(text: str, steps: bool) -> dict | None:
    """The fields of a reply in exactly the requested form, else None."""
    fields = strict_fields(text, ("cards", "number", "formula", *(("steps",) if steps else ())))
    if fields is None:
        return None
    items = {"cards": str, "number": int, **({"steps": str} if steps else {})}
    listed = all(
        isinstance(fields[name], list) and all(type(item) is kind for item in fields[name])
        for name, kind in items.items()
    )
    return fields if listed and isinstance(fields["formula"], str) else None
