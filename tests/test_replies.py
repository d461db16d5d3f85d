"""Reading replies: every row of docs/replies.md, mutated replies, and the time that any string takes."""

import importlib
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ruleshift.tasks import get_task
from ruleshift.tasks.generalpoints import expression, prompt
from ruleshift.tasks.generalpoints.task import GeneralPoints, GeneralPointsProblem
from ruleshift.tasks.generalpoints.verifier import verify_formula
from ruleshift.tasks.objects import mended, objects_with
from ruleshift.tasks.replies import without_thinking
from ruleshift.tasks.virl import verifier
from ruleshift.tasks.virl.route import SIDES, Sight
from ruleshift.tasks.virl.task import Virl, VirlProblem

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "replies.md").read_text()
WAY, ELM = ("Elm Bakery", "Oak Deli"), Sight("Elm Bakery", "left front")
NAMES = ("The Intersection Cafe", "Kings Cross")
LENGTH = 100_000


def rows(heading: str, cells: int = 2) -> list[tuple[str, ...]]:
    """The first cells of every row of a table of the page, as they are meant."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [tuple(map(meant, re.split(r"(?<!\\)\|", line)[1 : cells + 1])) for line in lines]


def meant(cell: str) -> str:
    code = re.fullmatch(r"(`+) ?(.*?) ?\1", cell.strip())
    text = code[2] if code else cell.strip()
    text = re.sub(r"⟨U\+([0-9A-F]{4})⟩", lambda found: chr(int(found[1], 16)), text)
    return text.replace("⏎", "\n").replace("\\|", "|")


def read_formula(text: str) -> str:
    """A formula without its spaces, or why it is illegal."""
    verdict = verify_formula(text, (1, 2, 3, 4))
    if verdict.outcome == "illegal":
        return f"illegal: {verdict.feedback}"
    return expression.formula_in(text).replace(" ", "")


READERS = {
    "Cards: where the answer stands": lambda text: prompt.read_reply(text).formula or "nothing",
    "Cards: formulas": read_formula,
    "Walks: where the answer stands": lambda text: verifier.read_reply(text).action or "nothing",
    "Walks: actions": lambda text: verifier.canonical_action(text) or "nothing",
    "Walks: what is recognised": lambda text: "yes" if verifier.recognises(text, ELM, False, WAY) else "no",
    "Walks: intersections": lambda text: "yes" if verifier.states_intersection(text, NAMES) else "no",
}


@pytest.mark.parametrize(
    ("heading", "text", "expected"),
    [(heading, *row) for heading in READERS for row in rows(heading)],
)
def test_the_page_tells_the_truth(heading: str, text: str, expected: str) -> None:
    read = READERS[heading](text)
    if expected.startswith("illegal: "):
        assert read.startswith("illegal: ")
        assert expected.removeprefix("illegal: ") in read
    else:
        assert read == expected


@pytest.mark.parametrize(("name", "written", "same"), rows("Walks: names", cells=3))
def test_the_page_tells_the_truth_about_names(name: str, written: str, same: str) -> None:
    assert verifier.states_sight(written, name) == (same == "yes")


def test_the_page_has_rows() -> None:
    assert all(len(rows(heading)) >= 5 for heading in [*READERS, "Walks: names"])


# ---------------------------------------------------------------- cards

RIGHT = '{"cards": ["A", "2", "3", "4"], "number": [1, 2, 3, 4], "formula": "(1+2+3)*4=24"}'
DRAFT = RIGHT.replace("(1+2+3)*4", "1+2+3+4")
ANSWERED = [
    f"```json\n{RIGHT}\n```",
    f'{RIGHT}\nThe "formula": multiplies all numbers.',
    f'{RIGHT} The form was {{"cards": ["..."], "number": [0], "formula": "..."}}',
    RIGHT[:-1] + ', "explanation": "\\"formula\\": 1+2+3+4"}',
    RIGHT[:-1] + ', "explanation": {"formula": "1+2+3+4"}}',
    f"<think>{DRAFT}</think>\n{RIGHT}",
    f"<think>{DRAFT}</think>\n```json\n{RIGHT}\n```\n<think>{DRAFT}</think>",
    f"<Thinking>{DRAFT}</Thinking>{RIGHT}",
    f"{DRAFT}\n</think>\n{RIGHT}",
    f"<think>{DRAFT} </think>\nCards: [A, 2, 3, 4]\nNumber: [1, 2, 3, 4]\n**Formula:** $(1+2+3) \\times 4 = 24$",
    f"{RIGHT}<|im_end|>",
    json.dumps({"name": "answer", "arguments": json.loads(RIGHT)}),
    RIGHT.replace('"', "'"),
    RIGHT.replace('"', "”").replace(":", "："),
    RIGHT[:-2],
]


@pytest.mark.parametrize("text", ANSWERED)
def test_the_answer_is_read_and_not_the_draft(text: str) -> None:
    read = prompt.read_reply(text)
    assert verify_formula(read.formula or "", (1, 2, 3, 4)).solved
    assert read.numbers == (1, 2, 3, 4)
    assert read.cards == ("A", "2", "3", "4")
    assert not read.valid


@pytest.mark.parametrize(
    "text", [f"<think>{RIGHT}", f"{RIGHT}</think>", f"<think>{RIGHT}</think>", f"<reasoning>{RIGHT}"]
)
def test_what_was_only_thought_is_no_answer(text: str) -> None:
    assert prompt.read_reply(text).formula is None
    assert prompt.read_reply(RIGHT).formula is not None  # control


@pytest.mark.parametrize(
    "formula", [r"(1+2+3) \times 4=24", r"\frac{4}{2}*3*1", r"\left(1+2+3\right)*4", r"\boxed{4*(1+2+3)}"]
)
def test_latex_inside_json_is_read_however_it_is_escaped(formula: str) -> None:
    for text in (json.dumps({"formula": formula}), '{"formula": "' + formula + '"}'):
        read = prompt.read_reply(text).formula
        assert read is not None
        assert verify_formula(read, (1, 2, 3, 4)).outcome in ("solved", "wrong_value")


def test_latex_that_a_decoder_reads_is_still_valid_to_the_letter() -> None:
    text = RIGHT.replace("*4", r" \times 4")
    assert "\t" in json.loads(text)["formula"]
    verdict = GeneralPoints().problem("id", 0, 0).submit(text, last=False)
    assert verdict.valid
    assert verdict.outcome != "illegal"


def test_only_words_that_the_bundled_model_knows_are_said_to_it() -> None:
    for formula in ("(1+2+3)4", "2^3", "2**3", "1 2 3"):
        text = RIGHT.replace("(1+2+3)*4", formula)
        assert GeneralPoints().problem("id", 0, 0, "terse").submit(text, last=False).feedback == "illegal"
        said = GeneralPoints().problem("id", 0, 0).submit(text, last=False).feedback
        assert "write * to multiply" in said or "powers" in said


def test_the_official_mode_judges_signs_as_the_official_code() -> None:
    for formula in ("24 = (1+2+3)*4", "(1+2+3)×4", "[1+2+3]*4", r"(1+2+3)\times4", "(1+2+3)*4."):
        assert verify_formula(formula, (1, 2, 3, 4)).solved
        assert verify_formula(formula, (1, 2, 3, 4), compat="official").reward == -3
    assert verify_formula("24=(1+2+3)*4", (1, 2, 3, 4), compat="official").reward == -4


# ---------------------------------------------------------------- walks

FORMS = {
    "fence": lambda fields: f"```json\n{json.dumps(fields)}\n```",
    "thinking": lambda fields: f"<think>ok</think>{json.dumps(fields)}",
    "one key more": lambda fields: json.dumps({**fields, "note": "x"}),
    "python": str,
}
CALLS = {
    "double quotes": ("(", '("', ")", '")'),
    "signature": ("(", '(x="', ")", '")'),
    "colon": ("(", ": ", ")", ""),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("form", FORMS)
def test_ten_walks_are_walked_in_every_form(form: str, call: str) -> None:
    opening, opens, closing, closes = CALLS[call]
    for index in range(10):
        problem = Virl().problem("id", 0, index)
        while True:
            fields = json.loads(problem.gold())
            if fields["action"].startswith("turn"):
                fields["action"] = fields["action"].replace(opening, opens).replace(closing, closes)
            verdict = problem.submit(FORMS[form](fields), last=False)
            assert verdict.outcome == "right"
            assert verdict.read_right
            if verdict.ended:
                break
        assert verdict.solved


@pytest.mark.parametrize(
    "name", ['"Zum Löwen"', "„Zum Löwen“", "Joe’s {Bar}", "The Intersection Cafe", "Kings Cross", "Intersection"]
)
@pytest.mark.parametrize("form", FORMS)
def test_an_expert_reads_any_name_right(name: str, form: str) -> None:
    """Also where the name holds the word intersection, at an intersection and elsewhere."""
    for named in ("way", "intersection"):
        problem = walk_past(name, named)
        while problem.point.sight is None or problem.point.sight.name != name:
            assert problem.submit(problem.gold(), last=False).outcome == "right"
        for text in (problem.gold(), FORMS[form](json.loads(problem.gold()))):
            wrong = text.replace(problem.action, "turn_direction(nowhere)")
            assert wrong != text
            assert problem.submit(wrong, last=False).outcome == "wrong_action"
        assert problem.submit(FORMS[form](json.loads(problem.gold())), last=False).read_right


def walk_past(name: str, kind: str) -> VirlProblem:
    """A walk with a place of this name at its first point of a kind."""
    for index in range(50):
        problem = Virl().problem("id", 0, index)
        points = list(problem.itinerary.points)
        place = next((k for k, point in enumerate(points) if point.kind == kind), None)
        if place is not None:
            points[place] = replace(points[place], sight=Sight(name, "left"))
            problem.itinerary = replace(problem.itinerary, points=tuple(points))
            return problem
    raise AssertionError(kind)


DENIED = [
    "No intersection.",
    "There is no intersection here",
    "I do not see an intersection",
    "I don't see any intersections",
]
DENIED += ["No landmarks or intersections nearby.", "You are not at an intersection.", "An intersection cannot be seen"]
DENIED += [
    "I do not think there is an intersection",
    "No landmarks nearby and the intersection is not in sight",
    "no cross",
    "Intersection? No.",
    "landmark? yes, intersection? no",
    "I doubt there is an intersection",
    "You are no longer at an intersection",
    "No sign of an intersection",
    "There is no shop, landmark or intersection ahead",
]
SEEN = [
    "You observe an intersection.",
    "No landmarks nearby. You observe an intersection.",
    "none cross",
    "INTERSECTION ahead",
]
SEEN += ["No landmarks nearby You observe an intersection", "I do not see a landmark, only an intersection"]
SEEN += ["No doubt there is an intersection", "Landmark: none, intersection: yes", "An intersection, no landmarks"]
SEEN += ["No landmark nearby, intersection ahead", "There is no traffic at the intersection", "intersection? yes"]
SEEN += ["No street signs are visible at this intersection", "Landmark? No. Intersection? Yes."]


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "You are walking through a city.",
        '{"action": "forward()"}',
        '- "current observation": what you see now\n- "action": your action',
        '{"current observation": "...", "action": "stop()"}',
    ],
)
def test_nothing_is_recognised_where_nothing_is_observed(reply: str) -> None:
    """At a point without landmark and intersection, too."""
    walk = next(walk for walk in (Virl().problem("id", 0, k) for k in range(99)) if walk.point.sight is None)
    assert not walk.point.intersection
    assert walk.submit(walk.gold(), last=False).read_right
    walk.position = 0
    assert not walk.submit(reply, last=False).read_right


SIDES_READ = {  # of Elm Bakery, on the left front
    "Elm Bakery is on your left front.": True,
    "Elm Bakery left front": True,
    "ElmBakeryleftfrontcross": True,
    "On your left front is Elm Bakery": True,
    "Elm Bakery: front left": True,
    "Elm Bakery is ahead, on your left. You observe an intersection on your right.": True,
    "Elm Bakery (left-front)": True,
    "Elm Bakery is on your left front. Elm Bakery is on your left front.": True,
    "Elm Bakery is on your left.": False,
    "Elm Bakery is on your right front.": False,
    "Elm Bakery": False,
    "I see Elm Bakery. Left front.": False,
    "Elm Bakery is on your left front or right front.": False,
    "Elm Bakery is on your left front. Elm Bakery is on your right.": False,
    "left front": False,
}


@pytest.mark.parametrize(("text", "right"), SIDES_READ.items())
def test_the_side_of_a_landmark_counts(text: str, right: bool) -> None:
    assert verifier.states_side(text, ELM) == right


def test_a_name_with_a_side_in_it_is_no_side() -> None:
    assert verifier.states_side("Left Bank Cafe is on your right.", Sight("Left Bank Cafe", "right"))
    assert not verifier.states_side("Left Bank Cafe is on your right.", Sight("Left Bank Cafe", "left"))
    assert verifier.states_side('"" is on your right.', Sight('""', "right"))  # of a name without letters, the side


RECOGNISED = [  # what is stated, of which landmark, at an intersection, and whether it is all right
    ("Elm Bakery is on your left.", "left", False, True),
    ("Elm Bakery is on your left. You observe an intersection.", "left", True, True),
    ("Elm Bakery is on your left.", "left", True, False),
    ("Elm Bakery is on your right.", "left", False, False),
    ("Elm Bakery is on your left. Oak Deli is on your left.", "left", False, False),
    ("No landmarks nearby.", "left", False, False),
    ("No landmarks nearby.", None, False, True),
    ("none", None, False, True),
    ("NoLandmarksnearby", None, False, True),
    ("I do not see anything.", None, False, True),
    ("none cross", None, True, True),
    ("You observe an intersection.", None, True, True),
    ("none", None, True, False),
    ("Oak Deli is on your left.", None, False, False),
    *((text, None, False, False) for text in ("", " ", ".", "-", "x", "see", "You walk on.", "...")),
]


@pytest.mark.parametrize(("text", "side", "intersection", "right"), RECOGNISED)
def test_what_is_recognised(text: str, side: str | None, intersection: bool, right: bool) -> None:
    sight = None if side is None else Sight("Elm Bakery", side)
    assert verifier.recognises(text, sight, intersection, WAY) == right


@pytest.mark.parametrize("split", ["id", "rule-ood", "city-ood", "new-names", "mini"])
@pytest.mark.parametrize("task", ["virl-l", "virl-vl"])
def test_only_what_is_there_is_recognised(task: str, split: str) -> None:
    """An expert's observation is; none, one of another point, or one with another side is not."""
    for index in range(6):
        walk = get_task(task).unseen().problem(split, 3, index, "full")
        assert isinstance(walk, VirlProblem)
        for point in walk.itinerary.points:
            told = json.loads(walk.gold())
            seen, others = (
                told["current observation"],
                {side for side in SIDES if point.sight and side != point.sight.side},
            )
            wrong = ["", *(f"{point.sight.name} is on your {side}." for side in others if point.sight)]
            for observation in wrong:
                assert not walk.submit(json.dumps({**told, "current observation": observation}), last=False).read_right
                walk.position = walk.itinerary.points.index(point)
            assert walk.submit(json.dumps({**told, "current observation": seen}), last=False).read_right


@pytest.mark.parametrize(("text", "seen"), [*((text, False) for text in DENIED), *((text, True) for text in SEEN)])
def test_denied_intersections_are_none(text: str, seen: bool) -> None:
    assert verifier.states_intersection(text) == seen


# ---------------------------------------------------------------- any text


def test_objects_are_found_in_order_and_whole() -> None:
    text = '{"a": 1} {"b": {"A": 2, "c": {"a": 3}}} {"a": [4]} [{"a": 5}, {"a": 5}] [{"a": 6}, {"a": 7}] {"a": '
    assert [found["a"] for found in objects_with(text, "a")] == [1, 2, 5, 5, None]
    assert json.loads(mended("{'a': 'it's', b: [True, None,],}")) == {"a": "it's", "b": [True, None]}


def test_what_is_said_outside_thinking() -> None:
    assert without_thinking("a<think>b</think>c").split() == ["a", "c"]
    assert without_thinking("a<think>b<reasoning>c</reasoning>d").split() == ["a"]
    assert without_thinking("a < b and [think about it]") == "a < b and [think about it]"


UNITS = [
    "{",
    '{"a":',
    '{"a":[',
    '{"":{"b":1},',
    '{"a":1}',
    '{"a":[0,',
    "“",
    '"',
    "'",
    "`",
    "\\",
    "<",
    "<think>",
    "</think>",
]
UNITS += [
    "<|channel|>final",
    '"formula":"',
    "formula:",
    '{"formula":"..."}',
    '{"formula":{"formula":',
    "“formula”：“",
    ',"a',
    ":'",
]
UNITS += [
    '"action":',
    "action: forward()\n",
    "no intersection, ",
    "cross ",
    "\u0315\u0300",
    "🂡",
    "\ud800",
    "\\frac{",
    "([",
    "1=",
    "٣+",
]
FRAMES = ['{{"formula": "{}', "{}" + RIGHT, '{{"action": "stop()", "current observation": "{}"}}', "formula: {}", "{}"]


@pytest.mark.parametrize("unit", UNITS)
def test_any_string_is_read_soon(unit: str) -> None:
    """Measured under 50 ms each; the bound leaves room for busy machines."""
    problems = [task.problem("id", 0, 0) for task in (GeneralPoints(), GeneralPoints(compat="official"), Virl())]
    for frame in FRAMES:
        text = frame.replace("{}", unit * ((LENGTH - len(frame)) // len(unit))).replace("{{", "{").replace("}}", "}")
        for problem in problems:
            assert min(seconds(problem, text) for _ in range(2)) < 0.25


def seconds(problem: GeneralPointsProblem | VirlProblem, text: str) -> float:
    started = time.process_time()
    problem.submit(text, last=False)
    return time.process_time() - started


def test_mutated_replies_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    fuzz = importlib.import_module("fuzz_replies")
    found = fuzz.judged(1, range(600))
    assert found.raised == ()
    assert found.slowest[0] < 0.25
    assert len({fuzz.mutated(1, number) for number in range(100)}) > 95
