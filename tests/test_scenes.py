"""Episodes lived through again: the pictures and the maps that they do not keep."""

from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree

import pytest

import synthetic
from ruleshift.engines.protocol import Reply
from ruleshift.pictures import png
from ruleshift.records import Completion
from ruleshift.report.library import Library, Listing, scene_as_plain
from ruleshift.report.scenes import Stage, stage_of
from ruleshift.results import Results
from ruleshift.revision import Conversation
from ruleshift.rollouts import KeptEpisode
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Style, TaskProblem


def right(problem: TaskProblem) -> Iterator[str]:
    while True:
        yield problem.gold()


def careless(problem: TaskProblem) -> Iterator[str]:
    """Wrong at first, then right."""
    yield problem.reply("stop")
    yield from right(problem)


def episode(task: str, style: Style = "terse", replies=careless, index: int = 3) -> tuple[KeptEpisode, Conversation]:
    problem = get_task(task).problem("rule-ood", 5, index, style)
    conversation = Conversation(problem, 2)
    answers = replies(problem)
    conversation.request()
    while not conversation.ended:
        conversation.take(Reply((), Completion(next(answers))))
    kept = KeptEpisode.of(conversation.episode(), "rule-ood", "sampled")
    return replace(kept, messages=tuple((role, text, ()) for role, text, _ in kept.messages)), conversation


@pytest.mark.parametrize("style", ["terse", "full", "varied"])
def test_the_map_of_a_walk_has_the_place_of_each_reply(style: Style) -> None:
    kept, walked = episode("virl-l", style)
    scene = Stage(get_task("virl-l"), 2).scene(kept)
    assert scene is not None
    written = ["".join(text.itertext()) for text in ElementTree.fromstring(scene.map).findall(".//{*}text")]
    assert "1\u00d7 2" in written  # where it began
    assert [text for text in written if "\u00d7" in text] == ["1\u00d7 2"]
    assert {str(number) for number in range(3, len(walked.turns) + 1)} <= set(written)
    assert f"To {walked.problem.route.destination}" in written  # type: ignore[attr-defined]
    assert scene.pictures == ((),) * len(kept.messages)


def test_a_map_before_any_reply_has_none() -> None:
    assert "\u00d7" not in get_task("virl-l").problem("id", 0, 0).map_svg()  # type: ignore[attr-defined]


def test_pictures_are_those_that_were_seen() -> None:
    kept, seen = episode("gp-vl", replies=right)
    scene = Stage(get_task("gp-vl"), 2).scene(kept)
    assert scene is not None
    assert scene.map == ""
    assert scene.pictures == tuple(tuple(map(png, message.pictures)) for message in seen.messages)
    assert scene.pictures[0]
    unseen = Stage(get_task("gp-vl"), 2).scene(kept, pictures=False)
    assert unseen is not None
    assert not any(unseen.pictures)


def test_other_words_and_other_problems_have_no_scene() -> None:
    kept, _ = episode("virl-l")
    stage = Stage(get_task("virl-l"), 2)
    assert stage.scene(kept) is not None  # the control
    (role, text, seen), *others = kept.messages
    assert stage.scene(replace(kept, messages=((role, text + "!", seen), *others))) is None
    assert stage.scene(replace(kept, messages=(kept.messages[0], *others[:-1], ("user", "Other words.", ())))) is None
    for problem in ("virl-l/rule-ood/5", "virl-l/rule-ood/5/x", "virl-l/nowhere/5/3", "gp-l/rule-ood/5/3"):
        assert stage.scene(replace(kept, problem=problem)) is None


def test_a_stage_is_that_of_the_results() -> None:
    told = synthetic.results()
    stage = stage_of(told)
    assert stage is not None
    assert (stage.task.id, stage.turns, stage.shows) == ("gp-l", 5, False)
    silent = stage_of(Results(told.rows, {**told.meta, "feedback": "silent"}))
    assert silent is not None
    assert silent.task != stage.task
    assert stage_of(Results((replace(told.rows[0], task="gone"),), {})) is None
    assert Stage(get_task("virl-l"), 2).shows
    assert Stage(get_task("gp-vl"), 2).shows


def test_a_page_holds_the_maps_of_its_first_episodes() -> None:
    library = Library(stage=Stage(get_task("virl-l"), 2))
    for index in range(3):
        kept, _ = episode("virl-l", index=index)
        library.add(Listing("base", 0, "point", 0, kept.summary()), kept)
    part, _ = library.part().chunks()
    assert len(part.maps(2)) == 1
    assert Library(part.entries, part.places, stage=Stage(get_task("gp-l"), 2)).maps() == []
    plain = scene_as_plain(library.scene(0))
    assert plain is not None
    assert plain["map"].startswith("data:image/svg+xml;base64,")
    assert scene_as_plain(None) is None
