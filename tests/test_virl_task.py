"""V-IRL in text: prompts, walks, verdicts, splits."""

import dataclasses
import itertools
import json
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import within
from ruleshift.backbones.tokenizer import build_tokenizer
from ruleshift.engines.protocol import Insider, Request
from ruleshift.engines.text import expert, expert_messages
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import Point, cell_of, evaluate, rows_of
from ruleshift.records import Verdict
from ruleshift.revision import revise
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Style
from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.compass import ABSOLUTE, RELATIVE, SIXTEEN
from ruleshift.tasks.virl.prompt import write_reply
from ruleshift.tasks.virl.route import Route
from ruleshift.tasks.virl.rules import COMPASS, POOL, SPLITS, TURNS, ActionSpace, drawn_spaces
from ruleshift.tasks.virl.task import Virl, VirlProblem
from ruleshift.tasks.virl.verifier import FIELDS, canonical_action, judge, read_reply, states_intersection

STYLES: tuple[Style, ...] = ("full", "terse", "varied")
TASK = Virl()


def walk_to(problem: VirlProblem, kind: str) -> VirlProblem:
    """The same problem, walked on to the first point of this kind."""
    while problem.point.kind != kind:
        assert problem.submit(problem.gold(), last=False).advanced
    return problem


def a_walk(split: str = "id", index: int = 0, style: Style = "full", task: Virl = TASK) -> VirlProblem:
    return task.problem(split, 3, index, style)


# ---------------------------------------------------------------- walks and rewards


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("style", STYLES)
def test_the_expert_walks_every_split_with_full_reward(split: str, style: Style) -> None:
    for episode in evaluate(expert(), TASK, split, 6, 2, style, seed=4):
        assert episode.solved
        assert {turn.verdict.reward for turn in episode.turns} == {1.0}
        assert all(turn.verdict.valid and turn.verdict.read_right for turn in episode.turns)


@pytest.mark.parametrize("split", SPLITS)
def test_problems_are_a_pure_function_of_their_arguments(split: str) -> None:
    first, again = (expert_messages(TASK.problem(split, 1, 5, "varied")) for _ in range(2))
    assert first == again
    assert [m.content for m in TASK.problem(split, 1, 6).context()] != [m.content for m in first[:1]]


def test_rewards_along_a_route() -> None:
    problem = walk_to(a_walk(), "intersection")
    position = problem.position
    wrong = problem.submit(problem.reply("forward()"), last=False)
    assert (wrong.outcome, wrong.reward, wrong.advanced, wrong.solved) == ("wrong_action", -1.0, False, False)
    unseen = problem.reply("forward()").replace(" You observe an intersection.", "")
    assert problem.submit(unseen, last=False).reward == -1.5
    assert problem.submit("no idea", last=False).outcome == "unreadable"
    assert problem.submit(problem.reply("forward()"), last=True).reward == -2.0
    assert problem.position == position  # wrong actions are not executed
    right = problem.submit(problem.gold(), last=True)
    assert (right.outcome, right.reward, right.advanced) == ("right", 1.0, True)
    assert problem.position == position + 1
    problem = walk_to(problem, "destination")
    assert problem.submit(problem.reply("forward()"), last=False).reward == -1.0
    end = problem.submit(problem.gold(), last=False)
    assert (end.reward, end.ended, end.advanced) == (1.0, True, False)


def test_a_right_action_counts_whatever_the_observation() -> None:
    problem = walk_to(a_walk(), "intersection")
    verdict = problem.submit(problem.gold().replace(" You observe an intersection.", ""), last=False)
    assert (verdict.reward, verdict.read_right) == (1.0, False)


def test_the_official_verifier_blames_the_observation_and_wastes_the_last_try() -> None:
    problem = walk_to(a_walk(task=Virl(compat="official")), "intersection")
    assert problem.submit(problem.reply("forward()"), last=False).outcome == "wrong_observation"
    verdict = problem.submit(problem.gold(), last=True)
    assert (verdict.advanced, verdict.reward) == (False, -1.0)
    assert (Virl(compat="official").default_turns, Virl().default_turns) == (3, 2)


def errs_at(*steps: int, times: int) -> Insider:
    """Walks right, but for the first tries at some steps of the route."""
    tries: dict[tuple[str, int], int] = {}

    def answer(problem: VirlProblem, request: Request) -> str:
        place = problem.id, problem.position
        tries[place] = tries.get(place, 0) + 1
        return problem.reply("bogus") if problem.position in steps and tries[place] <= times else problem.gold()

    return Insider(answer)  # type: ignore[arg-type]


def test_the_budget_is_that_of_a_position() -> None:
    once = revise([a_walk()], errs_at(0, 2, 5, times=1), 2)[0]
    assert once.solved
    twice = revise([a_walk()], errs_at(2, times=2), 2)[0]
    assert not twice.solved
    assert [turn.verdict.reward for turn in twice.turns] == [1.0, 1.0, -1.0, -2.0]
    assert revise([a_walk()], errs_at(2, times=2), 3)[0].solved


def test_a_walker_who_is_led_on_reaches_the_end_but_has_failed() -> None:
    problem = a_walk(task=Virl(go_on=True))
    episode = revise([problem], errs_at(1, 3, times=2), 2)[0]
    assert problem.point.kind == "destination"
    assert not episode.solved
    cell = cell_of("id", "greedy", [episode])
    steps = len(problem.itinerary.points)
    assert cell.tries == ((1, -2, 1, -2, *(1,) * (steps - 4)),)
    assert cell.outcomes("step_accuracy", 2) == pytest.approx([(steps - 2) / (steps + 2)])
    assert cell.outcomes("success", 2) == [0.0]
    assert cell.outcomes("steps_passed", 2) == [1.0]


def test_what_is_measured_of_a_walk() -> None:
    episodes = revise([a_walk(index=0), a_walk(index=1)], errs_at(2, times=1), 2)
    cell = cell_of("id", "greedy", episodes)
    steps = [len(steps) for steps in cell.tries]
    assert cell.outcomes("success", 2) == [1.0, 1.0]
    assert cell.outcomes("success", 1) == [0.0, 0.0]
    assert sum(cell.outcomes("step_accuracy", 2)) / 2 == pytest.approx(sum(steps) / (sum(steps) + 2))
    assert cell.outcomes("step_accuracy", 1) == pytest.approx([2 / 3, 2 / 3])  # the walk ends at its first error
    assert cell.outcomes("steps_passed", 1) == [2.0, 2.0]
    assert sum(cell.outcomes("first_try_accuracy", 2)) / 2 == pytest.approx((sum(steps) - 2) / sum(steps))
    walks = [a_walk(index=0), a_walk(index=1)]
    assert cell.decided == tuple(sum(p.kind != "way" for p in walk.itinerary.points) for walk in walks)
    wrong = tuple(int(walk.itinerary.points[2].kind != "way") for walk in walks)
    assert cell.decided_right == tuple(all_ - lost for all_, lost in zip(cell.decided, wrong, strict=True))
    right = sum(cell.decided_right) / sum(cell.decided)
    assert sum(cell.outcomes("decision_accuracy", 1)) / 2 == pytest.approx(right)
    at_start = cell_of("id", "greedy", revise([a_walk()], errs_at(0, times=1), 2))
    assert at_start.decided_right[0] == at_start.decided[0] - 1


def test_where_nothing_is_seen_the_official_words_tell_intersections_apart() -> None:
    words: dict[tuple[str, bool], set[str]] = {}
    for compat in ("fixed", "official"):
        for index in range(20):
            problem = a_walk(index=index, task=Virl(compat=compat))
            for point in problem.itinerary.points[:-1]:
                stated = json.loads(problem.gold())["current observation"]
                if point.sight is None:
                    words.setdefault((compat, point.intersection), set()).add(stated.split(".")[0])
                problem.submit(problem.gold(), last=False)
    assert words == {
        ("fixed", False): {"No landmarks nearby"},
        ("fixed", True): {"No landmarks nearby"},
        ("official", False): {"No landmarks nearby"},
        ("official", True): {"No landmark nearby"},
    }


# ---------------------------------------------------------------- rules


def test_words_of_the_action_spaces() -> None:
    assert [COMPASS.word(0, heading) for heading in (0, 44, 91, 200, 337)] == [
        "north",
        "northeast",
        "east",
        "south",
        "northwest",
    ]
    sixteen = ActionSpace("absolute", SIXTEEN)
    assert (sixteen.word(0, 22.5), sixteen.word(90, 350)) == ("north-northeast", "north")
    assert [TURNS.word(350, heading) for heading in (80, 260, 10, 340)] == [
        "right",
        "left",
        "slightly right",
        "slightly left",
    ]
    assert TURNS.word(350, 80, "official") == "left"


@given(st.integers(0, 10_000))
def test_pretraining_never_uses_the_words_of_a_test(index: int) -> None:
    absolute, relative = drawn_spaces(stream("test", index))
    assert len(set(absolute.words + relative.words)) == 12
    assert set(absolute.words + relative.words) <= set(POOL)
    for space in (absolute, relative):
        tested = set(space.words) & set(SIXTEEN + RELATIVE)
        assert len(tested) <= len(space.words) // 2


def test_the_prompt_lists_one_space_and_the_verifier_of_fake_wants_the_other() -> None:
    shifted, fake = (a_walk(split) for split in ("rule-ood", "fake"))
    for problem in (shifted, fake):
        assert f"x is one of: {', '.join(RELATIVE)}" in problem.context()[0].content
    assert any(f"({word})" in shifted.gold() for word in RELATIVE)
    assert any(f"({word})" in fake.gold() for word in ABSOLUTE)
    turn = fake.itinerary.action(fake.point, "relative")
    assert fake.submit(fake.reply(turn), last=False).reward == -1.0


def test_one_worded_instructions_do_not_hold_the_words_that_are_wanted() -> None:
    for index in range(20):
        problem = a_walk("one-worded", index)
        way = problem.context()[0].content.split("Actions:")[0]
        for point in problem.itinerary.turns:
            word = problem.itinerary.turn(point, "relative")
            assert f"Turn {word}," not in way
            assert f"Turn {word}." not in way


def test_nobody_is_told_to_face_where_they_face_already() -> None:
    said = {True: 0, False: 0}
    for index in range(60):
        itinerary = a_walk("rule-ood", index).itinerary
        lines = a_walk("rule-ood", index).context()[0].content.splitlines()
        way = [line for line in lines if ". Turn " in line]
        facing = itinerary.facing
        assert f"You start out facing {facing}." in lines
        for line, point in zip(way, itinerary.turns, strict=True):
            following = itinerary.turn(point, "absolute")
            assert line.endswith(f", so that you {'still face' if facing == following else 'face'} {following}.")
            said[facing == following] += 1
            facing = following
    assert min(said.values()) > 10


def test_terse_lists_are_of_equal_length_and_hold_what_is_needed() -> None:
    for split in ("id", "rule-ood", "fake", "val-shift-a", "city-ood"):
        for index in range(30):
            problem = TASK.problem(split, 0, index, "terse")
            rule, text = problem.itinerary.rule, problem.context()[0].content
            listed = text.split(" space ")[1].split(" turn ")[0]
            words = sorted(rule.space(rule.stated).words, key=len, reverse=True)
            found = []
            for word in words:
                if f" {word} " in f" {listed} ":
                    found.append(word)
                    listed = f" {listed} ".replace(f" {word} ", " ").strip()
            needed = {problem.itinerary.turn(point, rule.stated) for point in problem.itinerary.turns}
            assert needed <= set(found)
            assert len(found) == max(4, len(needed)), (split, text)


def test_the_split_sizes() -> None:
    routes = {TASK.problem("mini", 0, index).route.id for index in range(40)}
    assert len(routes) == 18
    cities = [TASK.problem("mini", 7, index).route.city for index in range(18)]
    assert sorted(set(cities)) == sorted(SPLITS["mini"].cities)
    assert all(cities.count(city) == 2 for city in cities)
    assert TASK.problem("train", 5, 1).route == TASK.problem("train", 5, 1_001).route
    assert all(TASK.problem("long", 0, index).route.legs >= 8 for index in range(10))


@pytest.mark.parametrize("split", SPLITS)
def test_routes_differ_by_seed_but_for_a_fixed_set_of_test_routes(split: str) -> None:
    first, second = ([TASK.problem(split, seed, index).route for index in range(12)] for seed in (1, 2))
    if split == "mini":  # the same 18 for everybody
        assert first == second
    else:
        assert {route.start for route in first} != {route.start for route in second}
    if SPLITS[split].trains:
        assert len({TASK.problem(split, seed, 3).route.id for seed in range(4)}) == 4
    assert SPLITS[split].trains == (split == "proxy-train" or split.startswith("train"))


def test_own_routes_are_trained_on_in_an_order_of_the_seed_and_tested_on_as_they_come() -> None:
    routes = tuple(TASK.problem("id", 0, index).route for index in range(20))
    own = Virl(routes=lambda legs: routes)

    def order(split: str, seed: int) -> list[Route]:
        return [own.problem(split, seed, index).route for index in range(40)]

    assert order("id", 0) == order("id", 5) == [*routes, *routes]
    first, second = order("train", 0), order("train", 1)
    assert first != second
    for shuffled in (first, second):
        assert shuffled[:20] == shuffled[20:]
        assert sorted(route.id for route in shuffled[:20]) == sorted(route.id for route in routes)


def test_training_and_test_routes_differ() -> None:
    def way(split: str, index: int) -> tuple:
        route = TASK.problem(split, 0, index).route
        return route.start, tuple(milestone.at for milestone in route.milestones)

    trained = {way("train", index) for index in range(400)}
    assert len(trained) > 390
    assert not trained & {way("id", index) for index in range(200)}


def test_unknown_splits_are_refused_with_the_choices() -> None:
    with pytest.raises(RuleshiftError, match="rule-ood"):
        TASK.problem("rule-odd", 0, 0)


# ---------------------------------------------------------------- words


def test_terse_text_is_in_the_vocabulary_of_the_bundled_model() -> None:
    tokenizer = build_tokenizer()
    for split in SPLITS.keys() - {"new-names"}:  # whose words are new to every model
        for index in range(10):
            for message in expert_messages(TASK.problem(split, 0, index, "terse")):
                ids = tokenizer(message.content, add_special_tokens=False)["input_ids"]
                assert tokenizer.unk_token_id not in ids, message.content
                if message.role == "assistant":
                    read = read_reply(tokenizer.decode(ids))
                    assert read.valid
                    assert read.action == read_reply(message.content).action


def test_feedback_never_tells_the_answer() -> None:
    for index, style in itertools.product(range(6), STYLES):
        problem = walk_to(a_walk("rule-ood", index, style), "intersection")
        word = problem.itinerary.turn(problem.point, "relative").replace("right", "to the right")  # "not right" is said
        verdicts = [problem.submit(text, last) for text in (problem.reply("forward()"), "?") for last in (False, True)]
        assert all(word not in verdict.feedback for verdict in verdicts)
        assert all(verdict.feedback for verdict in verdicts)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ('```json\n{"current observation": "x", "action": "turn_direction(left)"}\n```', "turn_direction(left)"),
        ("{'action': 'forward()'}", "forward()"),
        ("action: stop()", "stop()"),
        ('{"action": "Turn_Direction( Slightly_Left )"}', "turn_direction(slightly left)"),
        ('{"action": "turn_direction(\'north-east\')"}', "turn_direction(northeast)"),
        ('{"action": "turn_direction()"}', None),
        ('{"action": "forward(3)"}', None),
        ('{"action": "jump()"}', None),
        ("forward", None),
        ("", None),
    ],
)
def test_actions_are_read_out_of_any_text(text: str, action: str | None) -> None:
    assert read_reply(text).action == action


def test_only_the_requested_form_is_valid() -> None:
    fields = {"current observation": "a", "current instruction": "b", "action": "stop()"}
    assert read_reply(json.dumps(fields)).valid
    assert not read_reply(json.dumps({**fields, "more": "c"})).valid
    assert not read_reply(json.dumps({**fields, "action": 3})).valid
    assert not read_reply("Sure! " + json.dumps(fields)).valid


def test_an_intersection_is_stated_in_words_of_either_style() -> None:
    assert states_intersection("Fern Deli is on your left. You observe an intersection.")
    assert states_intersection("Fern Deli left cross")
    assert states_intersection("FernDelileftcross")
    assert not states_intersection("Kings Cross is on your left.")
    assert not states_intersection("No landmarks nearby.")


@pytest.mark.parametrize(
    "text", ["{" * 100_000, '"action":' * 11_000, "turn_direction(" * 6_600, "“" * 100_000, "a" * 10**6]
)
def test_any_reply_is_judged_soon(text: str) -> None:
    problem = a_walk()
    with within(0.5):
        verdict = problem.submit(text, last=False)
    assert isinstance(verdict, Verdict)
    assert not verdict.advanced


@settings(max_examples=200)
@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    reply = read_reply(text)
    assert judge(reply, "forward()", False) in ("right", "wrong_action", "wrong_observation", "unreadable")
    canonical_action(text)


# ---------------------------------------------------------------- what is decided, and in whose words


@pytest.mark.parametrize("split", SPLITS)
def test_where_words_are_shifted_turns_alone_are_decided(split: str) -> None:
    for index in range(4):
        problem = a_walk(split, index)
        shifted = problem.itinerary.rule.shifted if split in MIXED else split in SHIFTED
        while True:
            kind = problem.point.kind
            verdict = problem.submit(problem.gold(), last=False)
            assert verdict.decides == (kind in ("start", "intersection") or (kind == "destination" and not shifted))
            assert (verdict.words is None) != shifted
            if not verdict.advanced:
                break


SHIFTED = {"rule-ood", "both-ood", "big-actions", "fake", "one-worded", "val-shift-a", "val-shift-b", "pretrain"}
SHIFTED |= {"proxy-train", "proxy-id", "proxy-ood", "train-big-actions"}
MIXED = {"train-2-rules", "train-4-rules", "train-8-rules"}  # the words of the training rule, or others


@pytest.mark.parametrize(("split", "count"), [("train", 1), *((f"train-{count}-rules", count) for count in (2, 4, 8))])
def test_routes_are_walked_under_as_many_rules_as_said(split: str, count: int) -> None:
    rules = [a_walk(split, index).itinerary.rule for index in range(60)]
    assert len({rule.absolute for rule in rules}) == count
    assert COMPASS in {rule.absolute for rule in rules}
    assert {rule.scored for rule in rules} == {"absolute"}  # how far a turn goes is never trained


@pytest.mark.parametrize("split", ["fake", "rule-ood"])
def test_whose_words_are_used_is_counted_at_turns(split: str) -> None:
    """Both splits list left and right. Walking on, right under both rules between turns, counts for neither."""

    def always(word: str) -> Insider:
        return Insider(lambda problem, request: problem.reply(word))

    def shares(walker: Insider) -> tuple[float, ...]:
        cell = cell_of(split, "greedy", evaluate(walker, TASK, split, 20, 2))
        return tuple(fmean(cell.outcomes(f"{whose}_words", 1)) for whose in ("stated", "trained", "other"))

    assert shares(always("left")) == (1.0, 0.0, 0.0)
    assert shares(always("northeast")) == (0.0, 1.0, 0.0)
    assert shares(always("forward")) == shares(always("sideways")) == (0.0, 0.0, 1.0)
    trained = 1.0 if split == "fake" else 0.0
    assert shares(expert()) == (1 - trained, trained, 0.0)


def test_what_fake_gives_for_the_words_of_training_at_one_turn_in_five() -> None:
    """Walking on between turns used to make 41 of these 20."""

    def answer(problem: VirlProblem, request: Request) -> str:
        fifth = stream("fifth", problem.id, problem.position).random() < 0.2
        return problem.gold() if problem.point.next_heading is None or fifth else problem.reply("left")

    task = Virl(go_on=True)  # every turn is met
    cell = cell_of("fake", "greedy", evaluate(Insider(answer), task, "fake", 200, 1))  # type: ignore[arg-type]
    assert fmean(cell.outcomes("decision_accuracy", 1)) == pytest.approx(0.2, abs=0.04)
    assert fmean(cell.outcomes("trained_words", 1)) == fmean(cell.outcomes("decision_accuracy", 1))
    assert fmean(cell.outcomes("first_try_accuracy", 1)) > 0.7


def test_rows_of_walks_begin_with_what_is_decided() -> None:
    def metrics(split: str) -> list[str]:
        cell = cell_of(split, "greedy", evaluate(expert(), TASK, split, 3, 2))
        return [row.metric for row in rows_of(Point("virl-l", "base", 0, 0, 0.0, 0.0, (cell,)), (1, 2))]

    assert metrics("id")[0] == metrics("fake")[0] == TASK.metric
    assert metrics("fake")[1:4] == ["stated_words", "trained_words", "other_words"]
    assert "stated_words" not in metrics("id")
    assert metrics("id").count("step_accuracy") == 2


def test_a_problem_describes_itself() -> None:
    problem = get_task("virl-l").problem("rule-ood", 0, 0)
    facts = json.loads(json.dumps(dict(problem.describe())))
    assert facts["stated"] == list(RELATIVE)
    assert facts["actions"][-1] == "stop()"
    assert dataclasses.asdict(TASK)["metric"] == "decision_accuracy"


@pytest.mark.parametrize("style", ["terse", "stepwise", "full", "varied"])
def test_the_line_of_the_way_is_judged_apart_from_the_action(style: Style) -> None:
    problem = get_task("virl-l").problem("rule-ood", 0, 3, style)
    assert isinstance(problem, VirlProblem)
    _, step, action = FIELDS
    works: dict[str, set[str | None]] = {}
    for position, _ in enumerate(problem.itinerary.points):
        gold = json.loads(problem.gold())
        others = {json.loads(write_reply(problem.itinerary, p, "", style))[step] for p in problem.itinerary.points}
        said = {
            "its own": gold,
            "cut": {**gold, step: f" {gold[step].upper().rstrip('.')} "},
            "another": {**gold, step: next(line for line in sorted(others) if line != gold[step])},
            "all": {**gold, step: " ".join(sorted(others))},
            "none": {**gold, step: ""},
            "astray": {**gold, action: "turn_direction(nowhere)"},
        }
        for name, reply in said.items():
            verdict = problem.submit(json.dumps(reply), last=False)
            works.setdefault(name, set()).add(verdict.work)
            assert verdict.right == (name != "astray")
            problem.position = position
        problem.submit(json.dumps(gold), last=False)
    assert works["its own"] == works["cut"] == {"sound"}
    assert works["another"] == works["all"] == {"untrue"}
    assert (works["none"], works["astray"]) == ({None}, {"astray"})
