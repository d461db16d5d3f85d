"""V-IRL in pictures: the same walks, shown; what the text leaves out; panoramas and maps of one's own."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli_helpers import refusal
from map_helpers import upper_west_side
from ruleshift.backbones.tokenizer import build_tokenizer
from ruleshift.cli import main
from ruleshift.engines.text import expert, expert_messages, random_guesser
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import evaluate
from ruleshift.pictures import pixels_of, read_picture
from ruleshift.revision import revise
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Style
from ruleshift.tasks.virl.eyes import Streets
from ruleshift.tasks.virl.rail import build_rail
from ruleshift.tasks.virl.rules import SPLITS, TEST_CITIES, TRAIN_CITY, VALIDATION_CITIES
from ruleshift.tasks.virl.sources import routes_and_world
from ruleshift.tasks.virl.task import Virl
from ruleshift.tasks.virl.verifier import states_sight_alone
from ruleshift.tasks.virl.views.cities import look_of
from ruleshift.tasks.virl.views.factorial import DesignCell, renamed
from ruleshift.tasks.virl.views.panorama import panorama_view, read_panorama
from ruleshift.tasks.virl.views.render import grid_view, street_view
from ruleshift.tasks.virl.visual import VirlVL, VirlVLProblem
from ruleshift.tasks.virl.world.names import FIRST
from ruleshift.tasks.virl.world.procedural import procedural
from ruleshift.tasks.virl.world.routes import WORLD
from virl_fixtures import mapping, raw_route, write_download

STYLES: tuple[Style, ...] = ("full", "terse", "varied")
TASK = VirlVL(size=48)
HASHES = {
    "train": "f27e0849a221fcc1",
    "id-val": "e33f626b1b022fdd",
    "id": "e5bd9cdf5ce59424",
    "rule-ood": "487278787397eb4b",
    "city-ood": "fb578fdc89ddb326",
    "both-ood": "89ec92db9a23ab21",
    "mini": "eba369e73b3b7203",
    "five-legs": "6231edfeb4c61ee0",
    "long": "a700878e465550b6",
    "big-actions": "96a1f01acacd858a",
    "fake": "d7e271fda86eef7f",
    "one-worded": "8950911f8fc4618b",
    "visual-ood": "55e071508c12fa43",
    "new-names": "6c5fcfa1f01c3d99",
    "val-shift-a": "0fb1485d77a63a4a",
    "val-shift-b": "fcc607f560165166",
    "proxy-train": "6675321d805608d0",
    "proxy-id": "4b82f9722d2976f6",
    "proxy-ood": "a2ebc79c42b8c4a3",
    "city-val": "f41f15f7b500fb72",
    "val-visual": "026a1898ea9be44e",
    "pretrain": "2442d1f9a7d440c5",
    "train-long": "f961f019d6eb4167",
    "train-big-actions": "29ddd954165216cd",
    "train-2-rules": "9c62a0fca9c47686",
    "train-4-rules": "c4488ad816de063f",
    "train-8-rules": "cf874fd80786682b",
}


def a_walk(split: str = "id", index: int = 0, style: Style = "full", task: VirlVL = TASK) -> VirlVLProblem:
    return task.problem(split, 3, index, style)


def walk_to(problem: VirlVLProblem, kind: str, seen: bool = False) -> VirlVLProblem:
    """The same problem, walked on to the first point of this kind (where a landmark is `seen`)."""
    while problem.point.kind != kind or (seen and problem.point.sight is None):
        assert problem.submit(problem.gold(), last=False).advanced
    return problem


def view(problem: VirlVLProblem, position: int, look: str | None = None) -> np.ndarray:
    """What is seen at a position of a walk, rendered by itself."""
    city, point = procedural(WORLD, problem.route.city), problem.itinerary.points[position]
    return grid_view(city, look_of(look or problem.route.city), city.locate(point.at), point.heading, 24)


# ---------------------------------------------------------------- what is shown


@pytest.mark.parametrize("split", SPLITS)
def test_the_expert_earns_full_marks_on_every_split(split: str) -> None:
    task = VirlVL(size=32)
    for style in STYLES:
        (episode,) = evaluate(expert(), task, split, 1, 2, style, seed=4)
        assert episode.solved
        assert all(
            (t.verdict.reward, t.verdict.valid, t.verdict.read_right) == (1.0, True, True) for t in episode.turns
        )
        assert len(episode.pictures) == len(episode.turns)  # one at every point
        assert [len(message.pictures) for message in episode.messages] == [1, 0] * len(episode.turns) + [0]
        assert {(picture.height, picture.width) for picture in episode.pictures} == {(32, 32)}


@pytest.mark.parametrize("split", SPLITS)
def test_walks_are_those_of_the_text_task(split: str) -> None:
    for style in ("full", "terse"):
        seen, told = a_walk(split, 1, style), Virl().problem(split, 3, 1, style)
        assert seen.route == told.route
        assert replace(seen.itinerary, pictured=None) == told.itinerary
        assert seen.gold() == told.gold()


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_pixels_on_every_machine(split: str) -> None:
    first, again = (TASK.problem(split, 0, 2).context()[0].pictures[0] for _ in range(2))
    assert first == again
    assert hashlib.sha256(first.pixels).hexdigest()[:16] == HASHES[split]


def test_every_verdict_shows_the_next_point() -> None:
    problem = a_walk("city-ood", 1)
    assert problem.route.city == TEST_CITIES[1]
    np.testing.assert_array_equal(pixels_of(problem.context()[0].pictures[0]), view(problem, 0))
    for position in range(1, len(problem.itinerary.points)):
        assert problem.submit("?", last=False).pictures == ()  # nothing new is seen
        assert problem.submit(problem.reply("turn_direction(nowhere)"), last=True).pictures == ()
        (picture,) = problem.submit(problem.gold(), last=False).pictures
        np.testing.assert_array_equal(pixels_of(picture), view(problem, position))
    end = problem.submit(problem.gold(), last=False)
    assert (end.ended, end.pictures) == (True, ())


def test_a_walker_who_is_led_on_sees_where() -> None:
    problem = a_walk(style="terse", task=replace(TASK, go_on=True))
    verdict = problem.submit("?", last=True)
    assert (verdict.advanced, verdict.feedback) == (True, "led see")
    np.testing.assert_array_equal(pixels_of(verdict.pictures[0]), view(problem, 1))


def test_nothing_is_drawn_before_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def grid(self: Streets, *view: object) -> np.ndarray:
        asked.append(view)
        return np.zeros((24, 24, 3), np.uint8)

    monkeypatch.setattr(Streets, "grid", grid)
    problem = a_walk()
    start = problem.point
    assert asked == []
    problem.context()
    problem.context()
    assert asked == [(start.at, start.heading, 24, "fixed")]  # once
    problem.submit(problem.gold(), last=False)
    assert asked[1:] == [(problem.point.at, problem.point.heading, 24, "fixed")]


def test_what_draws_is_imported_when_it_is_needed() -> None:
    check = "import sys, ruleshift.tasks; print(*{'numba', 'PIL', 'torch', 'datasets'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, check=True, text=True).stdout == "\n"


def test_looks_are_shifted_alone() -> None:
    for index in (0, 4, 13):
        shifted = a_walk("visual-ood", index)
        assert (shifted.route.city, shifted.itinerary.rule.stated) == (TRAIN_CITY, "absolute")
        assert shifted.describe()["look"] == TEST_CITIES[index % 9]
    shifted = a_walk("visual-ood", 4)
    np.testing.assert_array_equal(pixels_of(shifted.context()[0].pictures[0]), view(shifted, 0, "milan"))
    assert [a_walk("val-visual", index).describe()["look"] for index in range(3)] == [
        *VALIDATION_CITIES,
        VALIDATION_CITIES[0],
    ]
    assert a_walk("rule-ood").describe()["look"] == TRAIN_CITY
    assert a_walk("both-ood", 2).describe()["look"] == a_walk("both-ood", 2).route.city == "hong-kong"


def test_names_are_shifted_alone() -> None:
    problem = walk_to(a_walk("new-names", 1), "intersection", seen=True)
    assert problem.point.sight is not None
    city = procedural(WORLD, TRAIN_CITY)
    assert problem.point.sight.name not in {place.name for place in city.places}
    assert problem.point.sight.name.split()[0] not in FIRST
    at, heading, look = city.locate(problem.point.at), problem.point.heading, look_of(TRAIN_CITY)
    seen = pixels_of(problem.eyes.picture(problem.point))
    np.testing.assert_array_equal(seen, grid_view(renamed(city), look, at, heading, 24))
    large = replace(problem.eyes, size=448).picture(problem.point)
    assert large.pixels != grid_view(city, look, at, heading, 224).tobytes()  # other signs
    assert (
        DesignCell(TRAIN_CITY, TRAIN_CITY, "heldout").scene()[0]
        is DesignCell(TRAIN_CITY, "milan", "heldout").scene()[0]
    )


def test_no_training_walk_is_in_a_shifted_split() -> None:
    def ways(split: str) -> set[tuple]:
        routes = [Virl().problem(split, 0, index).route for index in range(200)]
        return {(route.start, *(milestone.at for milestone in route.milestones)) for route in routes}

    trained = ways("train")
    for split in ("visual-ood", "new-names", "val-visual"):
        assert not trained & ways(split)
    assert trained & ways("train")


def test_sizes_and_views() -> None:
    sides = {style: VirlVL().problem("id", 0, 0, style).context()[0].pictures[0].width for style in STYLES}
    assert sides == {"full": 672, "terse": 192, "varied": 672}
    odd = pixels_of(a_walk(task=VirlVL(size=49)).context()[0].pictures[0])
    np.testing.assert_array_equal(odd[:48, :48], view(a_walk(), 0))
    assert not odd[48].any()
    assert not odd[:, 48].any()
    problem = a_walk(task=VirlVL(size=48, views="front"))
    city, point = procedural(WORLD, TRAIN_CITY), problem.point
    ahead = street_view(city, look_of(TRAIN_CITY), city.locate(point.at), point.heading, 48)
    np.testing.assert_array_equal(pixels_of(problem.context()[0].pictures[0]), ahead)
    for size in (0, 31, 2049):
        with pytest.raises(RuleshiftError, match=f"32 to 2048 pixels a side, not {size}"):
            VirlVL(size=size)
    with pytest.raises(RuleshiftError, match="unknown views 'back'; choose from grid, front"):
        VirlVL(views="back")  # type: ignore[arg-type]
    with pytest.raises(RuleshiftError, match="come with the world"):
        VirlVL(routes=lambda legs: (problem.route,))


def test_official_views_look_beside_the_heading() -> None:
    problem = a_walk(task=VirlVL(size=48, compat="official"))
    picture, point = pixels_of(problem.context()[0].pictures[0]), problem.point
    city, look = procedural(WORLD, TRAIN_CITY), look_of(TRAIN_CITY)
    for turn, (row, column) in zip((-135, -45, 45, 135), ((0, 0), (0, 26), (26, 0), (26, 26)), strict=True):
        expected = street_view(city, look, city.locate(point.at), point.heading + turn, 21)
        np.testing.assert_array_equal(picture[row : row + 21, column : column + 21], expected)
    assert not picture[21:26].any()
    assert not picture[:, 21:26].any()
    assert not picture[47].any()


# ---------------------------------------------------------------- words


def test_the_text_tells_nothing_of_what_is_seen() -> None:
    messages = expert_messages(a_walk())
    assert messages[0].content.endswith("Observation: see the picture.")
    assert {message.content for message in messages[2::2]} == {"Right. Observation: see the picture."}
    assert "four views from where you stand: front and right above, back and left below" in messages[0].content
    terse = expert_messages(a_walk(style="terse"))
    assert terse[0].content.endswith(" see")
    assert {message.content for message in terse[2::2]} == {"see"}
    assert "the view ahead" in a_walk(task=VirlVL(size=32, views="front")).context()[0].content
    for index in range(10):
        text = a_walk(index=index, style="varied").context()[0].content
        assert "picture" in text.splitlines()[0]
        assert "observation." not in text.splitlines()[0]


def test_the_leak_tells_of_intersections_alone() -> None:
    for style, crossing, other in (
        (
            "full",
            "Right. Observation: see the picture. You observe an intersection.",
            "Right. Observation: see the picture.",
        ),
        ("terse", "see cross", "see"),
    ):
        problem = a_walk(style=style, task=replace(TASK, leak=True))  # type: ignore[arg-type]
        said = expert_messages(problem)[2::2]
        points = problem.itinerary.points[1:]
        assert [message.content for message in said] == [crossing if p.intersection else other for p in points]
        assert len({point.intersection for point in points}) == 2
    assert a_walk().gold() == a_walk(task=replace(TASK, leak=True)).gold()


def test_terse_words_are_in_the_vocabulary_of_the_bundled_model() -> None:
    tokenizer = build_tokenizer()
    for task in (TASK, replace(TASK, leak=True)):
        for split in ("train", "rule-ood", "city-ood", "pretrain"):
            for message in expert_messages(a_walk(split, 1, "terse", task)):
                assert tokenizer.unk_token_id not in tokenizer(message.content)["input_ids"], message.content


# ---------------------------------------------------------------- rewards


def stating(problem: VirlVLProblem, change: Callable[[str], str], action: str = "stop()") -> str:
    """A reply with this action and the right observation changed."""
    fields = json.loads(problem.reply(action))
    return json.dumps({**fields, "current observation": change(fields["current observation"])})


@pytest.mark.parametrize(
    ("change", "outcome", "read_right"),
    [
        (lambda text: text, "wrong_action", True),
        (lambda text: text.replace(" is on your ", " stands to the "), "wrong_action", True),
        (lambda text: text.replace("You observe an intersection.", ""), "wrong_observation", False),
        (lambda text: "You observe an intersection.", "wrong_observation", False),
        (lambda text: "Elm Bakery is on your left. You observe an intersection.", "wrong_observation", False),
        (lambda text: "", "wrong_observation", False),
    ],
)
def test_a_wrong_action_with_a_wrong_observation(change: Callable[[str], str], outcome: str, read_right: bool) -> None:
    problem = walk_to(a_walk(), "intersection", seen=True)
    verdict = problem.submit(stating(problem, change), last=False)
    reward = {"wrong_action": -1.0, "wrong_observation": -1.5}[outcome]
    assert (verdict.outcome, verdict.reward, verdict.read_right) == (outcome, reward, read_right)
    assert problem.submit(stating(problem, change), last=True).reward == reward - 1
    assert problem.submit(stating(problem, change, problem.action), last=False).reward == 1.0


def test_a_landmark_of_the_way_is_not_everywhere() -> None:
    """Names can be copied from the way, so a wrong one is a wrong observation; text does not ask."""
    problem = walk_to(a_walk(), "way")
    names = [point.sight.name for point in problem.itinerary.points if point.sight is not None]
    told = walk_to(Virl().problem("id", 3, 0), "way")  # type: ignore[arg-type]
    for name in names:
        reply = stating(problem, lambda _, name=name: f"{name} is on your left.")  # type: ignore[misc]
        verdict = problem.submit(reply, last=False)
        assert (verdict.outcome, verdict.reward, verdict.read_right) == ("wrong_observation", -1.5, False)
        assert name not in verdict.feedback
        assert told.submit(reply, last=False).outcome == "wrong_action"
    other = stating(problem, lambda _: "Some Shop is on your left.")  # of the street, and not of the way
    assert problem.submit(other, last=False).outcome == "wrong_action"


def test_names_within_names() -> None:
    assert states_sight_alone("Helm Bakery is on your left.", "Helm Bakery", ["Elm Bakery", "Helm Bakery"])
    assert not states_sight_alone("Helm Bakery. Elm Bakery.", "Helm Bakery", ["Elm Bakery"])
    assert not states_sight_alone("Elm Bakery", "Helm Bakery", [])
    assert states_sight_alone("NoLandmarks nearby", None, ["Elm Bakery"])


def test_feedback_on_a_wrong_observation() -> None:
    for style, text in (("terse", "misread"), ("full", "Look again which landmark is in sight, if any, and whether")):
        problem = walk_to(a_walk(style=style), "intersection")  # type: ignore[arg-type]
        assert problem.submit(stating(problem, lambda _: "none"), last=False).feedback.startswith(text)


def test_the_official_mode_asks_for_the_intersection_alone() -> None:
    problem = walk_to(a_walk(task=VirlVL(size=32, compat="official")), "intersection", seen=True)
    assert problem.submit(stating(problem, lambda _: "No landmarks nearby."), last=False).reward == -1.0
    assert problem.submit(stating(problem, lambda text: text), last=False).reward == -1.5


def test_a_guess_sees_nothing() -> None:
    problem = walk_to(a_walk(), "intersection", seen=True)
    guesses = [problem.guess(draw) for draw in range(60)]
    assert guesses == [problem.guess(draw) for draw in range(60)]
    verdicts = [walk_to(a_walk(), "intersection", seen=True).submit(guess, last=False) for guess in guesses]
    assert all(verdict.valid for verdict in verdicts)
    assert 0 < sum(bool(verdict.read_right) for verdict in verdicts) < 30
    assert all(episode.turns for episode in evaluate(random_guesser(), VirlVL(size=32), "id", 3, 2, "terse", seed=1))


def test_facts_tell_the_look() -> None:
    facts = a_walk("visual-ood", 4).describe()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["city"], facts["look"], facts["views"], facts["size"]) == (TRAIN_CITY, "milan", "grid", 48)
    assert (get_task("virl-vl").pictures, get_task("virl-l").pictures) == (True, False)


# ---------------------------------------------------------------- the user's own


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """The form of the paper's data, with panoramas of noise."""
    from PIL import Image

    folder = write_download(tmp_path)
    for number, id in enumerate(sorted(mapping().values())):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 16, 3), np.uint8)
        Image.fromarray(pixels).resize((128, 64)).save(folder / "street_views" / f"{id}.jpg", quality=95)
    return folder


def on(path: Path, **options: object) -> VirlVL:
    routes, world = routes_and_world(path)
    return VirlVL(size=48, routes=routes, world=world, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("compat", ["fixed", "official"])
def test_panoramas_are_shown_along_official_routes(compat: str, download: Path) -> None:
    task = on(download, compat=compat)
    for index in range(6):
        problem = task.problem("rule-ood", 0, index)
        points = problem.itinerary.points
        assert [point.kind for point in points if point.kind != "way"] == [
            "start", "intersection", "intersection", "destination",
        ]  # fmt: skip
        assert {point.at for point in points} <= set(mapping())  # others fall out
        (episode,) = revise([problem], expert(), task.default_turns)
        assert episode.solved
        size, gap, turns = (24, 0, (0, 90, 180, 270)) if compat == "fixed" else (21, 5, (-135, -45, 45, 135))
        for point, picture in zip(points, episode.pictures, strict=True):
            panorama, rotation = read_panorama(download / "street_views", mapping()[point.at])
            pixels = pixels_of(picture)
            assert pixels.shape == (48, 48, 3)
            for number, turn in enumerate(turns):
                row, column = (part * (size + gap) for part in divmod(number, 2))
                expected = panorama_view(panorama, rotation, point.heading + turn, size)
                np.testing.assert_array_equal(pixels[row : row + size, column : column + size], expected)
    walked = {point.at for index in range(6) for point in task.problem("id", 0, index).itinerary.points}
    assert ((10.0, 20.0024) in walked) == (compat == "official")  # two fifths along the first leg
    assert len(build_rail(task.problem("id", 0, 0).route, compat)) == 19 > len(walked)


def test_the_front_of_a_panorama(download: Path) -> None:
    problem = on(download, views="front").problem("id", 0, 0)
    panorama, rotation = read_panorama(download / "street_views", "pano-start")
    expected = panorama_view(panorama, rotation, problem.point.heading, 48)
    np.testing.assert_array_equal(pixels_of(problem.context()[0].pictures[0]), expected)
    assert problem.describe()["look"] == "panoramas"


def test_what_official_data_lack_is_told_before_the_walk(download: Path) -> None:
    views = download / "street_views"
    whole = (views / "pano_corner.jpg").read_bytes()
    remedy = f": `ruleshift data check-virl {download}` lists what the data lack"
    (views / "pano_corner.jpg").unlink()
    with pytest.raises(RuleshiftError, match=r"pano_corner.jpg, the panorama at .10.006, 20.006., is missing") as error:
        on(download).problem("id", 0, 0)
    assert str(error.value).endswith(remedy)
    for broken in (b"", b"\xff\xd8\xff\xe0 not much", whole[: len(whole) // 2]):
        (views / "pano_corner.jpg").write_bytes(broken)
        with pytest.raises(RuleshiftError, match=r"pano_corner.jpg is not read as a JPEG picture") as error:
            revise([on(download).problem("id", 0, 0)], expert(), 2)
        assert str(error.value).endswith(remedy)
    (views / "pano_corner.jpg").write_bytes(whole)
    revise([on(download).problem("id", 0, 0)], expert(), 2)
    (download / "gps_pano_mapping.pkl").unlink()
    pairs = [[*at, id] for at, id in mapping().items() if id != "pano_corner"]
    (download / "gps_pano_mapping.json").write_text(json.dumps(pairs))
    with pytest.raises(RuleshiftError, match=r"no panorama within 20 m of .10.006, 20.006. .intersection.") as error:
        on(download).problem("id", 0, 0)
    assert str(error.value).endswith(remedy)


def test_official_data_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "route_infos.json").write_text(json.dumps([raw_route()]))
    for path in (tmp_path, tmp_path / "route_infos.json"):
        with pytest.raises(RuleshiftError, match=r"holds no gps_pano_mapping.pkl, .*check-virl .* walk in text"):
            on(path)
    (tmp_path / "gps_pano_mapping.csv").write_text("10.0,20.0,pano\n")
    with pytest.raises(RuleshiftError, match="holds no street_views"):
        on(tmp_path)
    with pytest.raises(RuleshiftError, match="there is nothing at"):
        on(tmp_path / "nowhere")


def test_a_real_map_is_drawn_in_the_looks_of_the_split(tmp_path: Path) -> None:
    task = on(upper_west_side(tmp_path))
    for split, look in (("rule-ood", TRAIN_CITY), ("visual-ood", TEST_CITIES[0]), ("new-names", TRAIN_CITY)):
        problem = task.problem(split, 0, 0)
        point, graph = problem.point, task.world
        expected = grid_view(graph, look_of(look), graph.locate(point.at), point.heading, 24)  # type: ignore
        np.testing.assert_array_equal(pixels_of(problem.context()[0].pictures[0]), expected)
        assert np.ptp(expected) > 100
    assert revise([problem], expert(), 2)[0].solved


# ---------------------------------------------------------------- commands


def test_commands(download: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    routes = ["--routes", str(download), "--size", "64"]
    assert main(["eval", "virl-vl", "--model", "expert", "--n", "2", "--split", "id", "--go-on", *routes]) == 0
    assert "recognition of first replies 100.0%" in " ".join(capsys.readouterr().out.split())
    out = tmp_path / "walks.jsonl"
    assert main(["data", "virl-vl", "--n", "1", "--leak", "--views", "front", "--out", str(out), *routes]) == 0
    row = json.loads(out.read_text())
    problem = replace(on(download), size=64, views="front", leak=True).problem("train", 0, 0)
    messages = expert_messages(problem)
    assert [message["content"][-1]["text"] for message in row["messages"]] == [m.content for m in messages]
    assert [len(message["content"]) for message in row["messages"]] == [2, 1] * (len(messages) // 2)
    pictures = [picture for message in messages for picture in message.pictures]
    assert [read_picture((tmp_path / name).read_bytes()) for name in row["images"]] == pictures
    shown = tmp_path / "shown"
    assert main(["play", "virl-vl", "--model", "expert", "--split", "id", "--pictures", str(shown), *routes]) == 0
    walk = replace(on(download), size=64).problem("id", 0, 0)
    assert len(list(shown.iterdir())) == len(walk.itinerary.points)
    assert read_picture((shown / "virl-vl-id-0-0-1.png").read_bytes()) == walk.context()[0].pictures[0]
    (tmp_path / "routes.json").write_text(json.dumps([raw_route()]))
    assert "walk in text with virl-l" in refusal(capsys, "play", "virl-vl", "--routes", tmp_path / "routes.json")
    assert "32 to 2048 pixels a side" in refusal(capsys, "eval", "virl-vl", "--size", 9)
