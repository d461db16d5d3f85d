"""A report card as sentences and tables, which the terminal and a page show.

Names of models and splits are untrusted: the template escapes every value, and the page holds no script.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from ruleshift.evaluation.card import FAKE, SHIFTED, UNSEEN, Score, Statement, SubjectCard, TaskCard, shown_budgets
from ruleshift.evaluation.evaluate import WORDS
from ruleshift.evaluation.revising import LEAST_GAIN
from ruleshift.evaluation.statistics import Difference
from ruleshift.files import write_atomically
from ruleshift.outcomes import in_words as in_words_of
from ruleshift.report.points import turns_label
from ruleshift.report.tables import FAILURES, number, signed
from ruleshift.results import CEILING


@dataclass(frozen=True)
class CardTable:
    """A table, ready to show: the first column is text, the others are numbers. `note` stands below it."""

    title: str
    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class CardSection:
    """All that is shown of one task."""

    title: str
    sentences: tuple[str, ...]
    sheets: tuple[CardTable, ...]
    notes: tuple[str, ...]


def section(card: TaskCard) -> CardSection:
    """The card of one task, ready to show."""
    failed = any(subject.failures for subject in card.subjects)
    sheets = (
        _scores(card),
        *([_failures(card)] if failed else []),
        _revision(card),
        *([_pairs(card)] if card.pairs else []),
    )
    sizes = ", ".join(f"{split} {n}" for split, n in card.n.items())
    about = f"Version {card.version} of the task; problems: {sizes}."
    return CardSection(card.task, in_words(card), sheets, (about, *card.notes))


def in_words(card: TaskCard) -> tuple[str, ...]:
    """The answers that the card gives, subject by subject."""
    said = []
    for subject in card.subjects:
        mine = [s for s in card.statements if s.subject == subject.name and s.about != "pair"]
        parts = [_of_shift(s) if s.about == "shift" else _of_memory(s, subject) for s in mine]
        parts.append(_of_turns(subject, card))
        said.append(f"{subject.name}: {'; '.join(parts)}.")
    said += [_of_pair(s) for s in card.statements if s.about == "pair"]
    if card.statements:
        said.append(f"Intervals are 95%, over problems, corrected (Holm) for these {len(card.statements)} statements.")
    return tuple(said)


def _of_shift(s: Statement) -> str:
    if s.word == "undecided":
        return f"whether the shifted rule ({SHIFTED}) lowers its score is undecided ({_points(s)})"
    return f"the shifted rule ({SHIFTED}) {s.word} its score by {_size(s)}"


def _of_memory(s: Statement, subject: SubjectCard) -> str:
    score = subject.score(s.metric, s.split, 1)
    what = f"{_named(s.metric)} on {s.split}" if s.metric in WORDS else s.split
    at = what if score is None else f"{what}: {_shown(score)}% at first"
    if s.word == "raises":
        return f"it applies the trained rule where another is stated ({at}, {_size(s)} above {s.reference})"
    if s.word == "lowers":
        return f"it does not apply the trained rule where another is stated ({at}, {_size(s)} below {s.reference})"
    return f"nothing shows that it applies the trained rule where another is stated ({at}, against {s.reference})"


def _of_turns(subject: SubjectCard, card: TaskCard) -> str:
    if not subject.pays_until:
        return "no turn solves more than a point of the problems for sure"
    if subject.pays_until == card.turns:
        return f"revision pays up to the last of {card.turns} turns"
    if subject.pays_until == 1:
        return "revision does not pay: no turn after the first brings more than a point for sure"
    return f"revision pays up to turn {subject.pays_until}; later ones do not bring more than a point each for sure"


def _of_pair(s: Statement) -> str:
    if s.word == "undecided":
        return f"{s.subject} against {s.reference} under the shifted rule: undecided ({_points(s)})."
    better = "better" if s.word == "raises" else "worse"
    return f"{s.subject} does {better} than {s.reference} under the shifted rule, by {_size(s)}."


def _points(s: Statement) -> str:
    return f"{signed(s.difference)} points, {signed(s.low)} to {signed(s.high)}"


def _size(s: Statement) -> str:
    ends = sorted(abs(end) for end in (s.low, s.high))
    return f"{number(abs(s.difference))} points ({number(ends[0])} to {number(ends[1])})"


def _scores(card: TaskCard) -> CardTable:
    columns = [(subject.name, subject) for subject in card.subjects]
    columns += [(f"{'ceiling' if b.name == CEILING else 'floor'}: {b.name}", b) for b in card.bounds]
    rows = dict.fromkeys((s.split, s.metric, s.turns) for _, column in columns for s in column.scores)
    lines = [
        (_row_name(*row, card), *(_score(column, *row) for _, column in columns))
        for row in sorted(rows, key=lambda row: list(card.n).index(row[0]))
    ]
    notes = [f"{UNSEEN}: hands whose numbers no training shows."] if UNSEEN in card.n else []
    if FAKE in card.n:
        notes.append(f"{FAKE}: one rule is stated and the trained one scored; read it at the first turn.")
    if any(s.metric in WORDS for subject in card.subjects for s in subject.scores):
        notes.append(
            "stated, trained, other words: of first replies where something is decided, those in words of the "
            "rule that the prompt states, in those of the training rule, and in others or none."
        )
    title = f"{_named(card.metric).capitalize()} in %, with 95% intervals over problems"
    return CardTable(title, ("split", *(name for name, _ in columns)), tuple(lines), " ".join(notes))


def _failures(card: TaskCard) -> CardTable:
    lines = [
        (f"{subject.name}, {split}", in_words_of(shares))
        for subject in card.subjects
        for split, shares in subject.failures.items()
    ]
    return CardTable(FAILURES.capitalize(), ("subject, split", "replies"), tuple(lines))


def _row_name(split: str, metric: str, turns: int, card: TaskCard) -> str:
    if metric != card.metric:
        return f"{split}, {_named(metric)}"
    return f"{split}, within {turns}" if len(shown_budgets(metric, card.turns)) > 1 else split


def _named(metric: str) -> str:
    """The metric in words."""
    return metric.replace("_", " ")


def _score(subject: SubjectCard, split: str, metric: str, turns: int) -> str:
    score = subject.score(metric, split, turns)
    return "-" if score is None else _shown(score)


def _shown(score: Score) -> str:
    return f"{number(score.value)} [{number(score.low)}, {number(score.high)}]"


def _revision(card: TaskCard) -> CardTable:
    headings = ("subject, turn", "solved by it (%)", "95% interval", "replies", "tokens", "seconds", "money", "pays")
    lines = []
    for subject in card.subjects:
        for turn in subject.turns:
            lines.append(
                (
                    f"{subject.name}, {turn.turn}",
                    number(turn.gain.mean),
                    f"[{number(turn.gain.low)}, {number(turn.gain.high)}]",
                    str(turn.replies),
                    f"{turn.tokens:.0f}",
                    f"{turn.seconds:.2g}",
                    f"{turn.money:.2g}",
                    "yes" if turn.pays else "no",
                )
            )
    note = (
        f"On {SHIFTED if SHIFTED in card.n else next(iter(card.n))}. Tokens, seconds and money are per problem. A turn "
        f"pays while the lower end of what it solves lies above {100 * LEAST_GAIN:g} point of all problems."
    )
    return CardTable("What every further turn solves, and costs", headings, tuple(lines), note)


def _pairs(card: TaskCard) -> CardTable:
    lines = [
        (f"{name} - {reference}, {split}", signed(found.mean), _interval(found), "yes" if _excludes_0(found) else "no")
        for split, name, reference, found in card.pairs
    ]
    headings = ("difference", "points", "95% interval", "interval excludes 0")
    return CardTable(
        f"Paired differences in {_named(card.metric)}, {turns_label(shown_budgets(card.metric, card.turns)[-1])}",
        headings,
        tuple(lines),
        "In points, on the same problems, with intervals over problems, not corrected: exploratory.",
    )


def _interval(found: Difference) -> str:
    return f"[{signed(found.low)}, {signed(found.high)}]" if math.isfinite(found.low) else ""


def _excludes_0(found: Difference) -> bool:
    return found.low > 0 or found.high < 0


def write_card(
    path: str | os.PathLike[str], title: str, about: Sequence[tuple[str, str]], sections: Sequence[CardSection]
) -> None:
    """Write the page. `about` says where the numbers come from. Raises RuleshiftError if the file cannot be written."""
    environment = Environment(
        loader=PackageLoader("ruleshift.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("card.html").render(title=title, about=about, sections=sections)
    write_atomically(path, page.encode("utf-8", "replace"))
