"""GeneralPoints in pictures: the same hands, shown; recognition in rewards and feedback; files of conversations."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import within
from cli_helpers import refusal
from ruleshift.backbones.tokenizer import build_tokenizer
from ruleshift.cli import main
from ruleshift.engines.text import expert, random_guesser
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import evaluate
from ruleshift.pictures import pixels_of, read_picture
from ruleshift.tasks import get_task
from ruleshift.tasks.generalpoints.deal import Card, Deal
from ruleshift.tasks.generalpoints.pictures import draw, look
from ruleshift.tasks.generalpoints.prompt import rank_of, read_reply, write_reply
from ruleshift.tasks.generalpoints.rules import RANKS, SPLITS, Rule
from ruleshift.tasks.generalpoints.task import GeneralPoints
from ruleshift.tasks.generalpoints.visual import GeneralPointsVL, GeneralPointsVLProblem
from ruleshift.tasks.protocol import Style

STYLES: tuple[Style, ...] = ("full", "terse", "varied")
TASK = GeneralPointsVL(size=48)
HASHES = {
    "train": "3ca3141e6de5f40c",
    "id-val": "59dd0eddfc3d1b43",
    "id": "d4fc6da5011f0b38",
    "rule-ood": "121282e65877cd8a",
    "heldout": "f997676862a03c78",
    "rule-ood-heldout": "5df72260b3a6ef55",
    "all-12": "ff162ead2a143f55",
    "large": "5cacf482a0d32d5d",
    "target-36": "9244b882477431f2",
    "five-cards": "78596095beedc670",
    "five-cards-heldout": "fb501afdf2aebbc5",
    "fake": "594579c4b0533a26",
    "visual-ood": "51c8cd4f0458cfda",
    "both-ood": "f7c35052dc29739e",
    "style-ood": "bbd1fcc4aaa9fcc3",
    "four-colour": "04cdc6599c22ff28",
    "val-shift-a": "5a4ca1f907cf0367",
    "val-shift-b": "daf837ff28bd4075",
    "val-visual": "66aafed40ff9a710",
    "pretrain": "065298f65cf96844",
    "targets": "8255ad2635f17e2c",
    "three-cards": "2eac9902880f61dd",
    "six-cards": "f32edd7658823011",
    "train-30": "a4c385870c4e9f6a",
    "train-300": "9197569b4b67e3c2",
    "val-shift-heldout": "394d17d0fae7544c",
    "pretrain-targets": "23c88ec4a835709c",
    "train-2-rules": "f0318a43d5d342ff",
    "train-4-rules": "3e04aa56cef54b7d",
    "train-8-rules": "cebc018ee6442e41",
}


# ---------------------------------------------------------------- what is shown


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("style", STYLES)
def test_the_expert_earns_full_marks_on_every_split(split: str, style: Style) -> None:
    for episode in evaluate(expert(), TASK, split, 3, 5, style, seed=4):
        (turn,) = episode.turns
        assert (turn.verdict.reward, turn.verdict.valid, turn.verdict.read_right) == (5.0, True, True)
        assert len(episode.pictures) == len(episode.messages[0].pictures) == 1


@pytest.mark.parametrize("split", SPLITS)
def test_hands_are_those_of_the_text_task_and_only_the_picture_shows_them(split: str) -> None:
    for style in STYLES:
        seen, told = (task.problem(split, 3, 1, style) for task in (TASK, GeneralPoints()))
        assert seen.hand == told.hand
        (message,) = seen.context()
        assert pixels_of(message.pictures[0]).tolist() == draw(told.hand.cards, look(split, 3, 1), 48).tolist()
        if style != "varied":  # which draws its words by the name of the problem
            cards = (" " if style == "terse" else ", ").join(told.hand.ranks)
            assert cards not in message.content
            told_text = told.context()[0].content.replace(f"Cards: {cards}", "").replace(f" {cards}", "")
            assert told_text == message.content.replace("Cards: those in the picture", "")


def test_no_hand_changes_a_word_of_the_prompt() -> None:
    """Otherwise the text would tell of the cards."""
    for style in ("full", "terse"):
        assert len({TASK.problem("id", 0, index, style).context()[0].content for index in range(20)}) == 1
    assert TASK.problem("rule-ood", 0, 0, "terse").context()[0].content == "J 11 Q 12 K 13 target 24 cards"
    assert "Cards: those in the picture" in TASK.problem("id", 0, 0).context()[0].content
    words = " ".join(TASK.problem("id", 0, index, "varied").context()[0].content for index in range(40))
    assert "{" not in words
    assert "below" not in words


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_pixels_on_every_machine(split: str) -> None:
    first, again = (TASK.problem(split, 0, 2).context()[0].pictures[0] for _ in range(2))
    assert first == again
    assert hashlib.sha256(first.pixels).hexdigest()[:16] == HASHES[split]


def test_pictures_differ_between_hands_and_are_drawn_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({TASK.problem("id", 0, index).context()[0].pictures[0] for index in range(20)}) == 20
    monkeypatch.setattr("ruleshift.tasks.generalpoints.visual.draw", None)
    problem = TASK.problem("id", 0, 0)
    assert problem.submit(problem.gold(), last=False).solved  # nothing was drawn
    with pytest.raises(TypeError):
        problem.context()


def test_sizes() -> None:
    sides = {style: GeneralPointsVL().problem("id", 0, 0, style).context()[0].pictures[0].width for style in STYLES}
    assert sides == {"full": 448, "terse": 192, "varied": 448}
    picture = TASK.problem("id", 0, 0, "terse").context()[0].pictures[0]
    assert (picture.height, picture.width) == (48, 48)
    for size in (0, 31, 2049, -48):
        with pytest.raises(RuleshiftError, match=f"32 to 2048 pixels a side, not {size}"):
            GeneralPointsVL(size=size)


def test_facts_tell_the_look() -> None:
    facts = TASK.problem("style-ood", 0, 0).describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["look"] == look("style-ood", 0, 0).facts()
    assert (facts["size"], len(facts["cards"])) == (48, 4)  # type: ignore[arg-type]
    assert (get_task("gp-vl").pictures, get_task("gp-l").pictures) == (True, False)


# ---------------------------------------------------------------- recognition


def hand_of(ranks: str, compat: str = "fixed") -> GeneralPointsVLProblem:
    """A problem of the training rule with these ranks."""
    hand = Deal(tuple(Card(rank, "clubs") for rank in ranks.split()), Rule(), Rule())
    return replace(TASK.problem("id", 0, 0), hand=hand, compat=compat)


@pytest.mark.parametrize(
    ("cards", "formula", "outcome", "reward", "read_right"),
    [
        ("3 8 8 3", "8/(3-8/3)", "solved", 5.0, True),  # in any order
        ("3 8 8 4", "8/(3-8/3)", "solved", 5.0, False),  # a right formula is right whatever is stated
        ("", "8/(3-8/3)", "solved", 5.0, False),
        ("3 3 8 8", "3+3+8+8", "wrong_value", -1.0, True),
        ("3 3 8 8", "4*6", "wrong_numbers", -2.0, True),
        ("3 3 8 9", "3+3+8+8", "misread", -1.5, False),
        ("3 3 8 9", "3+3+8+9", "misread", -1.5, False),
        ("3 3 8", "3+3+8", "misread", -1.5, False),
        ("3 3 8 8 8", "3+3+8+8", "misread", -1.5, False),
        ("", "3+3+8+8", "misread", -1.5, False),
        ("3 3 8 9", "3+3+(8", "illegal", -3.0, False),  # what cannot be read stays so
        ("3 3 8 8", "3+3+(8", "illegal", -3.0, True),
        ("3 3 8 9", "", "illegal", -3.0, False),
    ],
)
def test_rewards_of_recognition(cards: str, formula: str, outcome: str, reward: float, read_right: bool) -> None:
    problem = hand_of("3 3 8 8")
    reply = write_reply(cards.split(), [], formula + "=24", "full")
    verdict = problem.submit(reply, last=False)
    assert (verdict.outcome, verdict.reward, verdict.read_right) == (outcome, reward, read_right)
    assert verdict.valid
    assert problem.submit(reply, last=True).reward == reward - (outcome != "solved")


def test_an_unreadable_reply_keeps_its_penalty() -> None:
    verdict = hand_of("3 3 8 8").submit("I see 3, 3, 8 and 8.", last=False)
    assert (verdict.outcome, verdict.reward, verdict.read_right) == ("unreadable", -3.0, False)


@pytest.mark.parametrize(
    ("cards", "formula", "outcome", "reward"),
    [
        ("3 3 8 8", "8/(3-8/3)", "wrong_value", -1.0),  # in floating point
        ("3 3 8 9", "8/(3-8/3)", "misread", -1.5),
        ("3 3 8 8", "4*6", "wrong_numbers", -4.0),
        ("3 3 8 9", "4*6", "misread", -1.5),
        ("3 3 8 8", "8*3 3", "illegal", -3.0),
        ("3 3 8 9", "8*3 3", "misread", -1.5),  # before anything else is looked at
        ("3 3 8 9", "((", "misread", -1.5),
        ("3 8 8 3", "(8*3+3-3", "wrong_numbers", -4.0),
        ("", "8*3 3", "misread", -1.5),
    ],
)
def test_rewards_of_the_official_mode(cards: str, formula: str, outcome: str, reward: float) -> None:
    verdict = hand_of("3 3 8 8", "official").submit(write_reply(cards.split(), [], formula, "full"), last=False)
    assert (verdict.outcome, verdict.reward) == (outcome, reward)


@pytest.mark.parametrize(("stated", "outcome", "reward"), [("8 A 3 A", "solved", 5.0), ("8 A 3 2", "misread", -1.5)])
def test_a_right_formula_over_misread_cards_earns_nothing_in_the_official_mode(stated, outcome, reward) -> None:
    reply = write_reply(stated.split(), [], "8*3*1*1=24", "full")
    verdict = hand_of("A A 3 8", "official").submit(reply, last=False)
    assert (verdict.outcome, verdict.reward, verdict.solved) == (outcome, reward, outcome == "solved")
    assert hand_of("A A 3 8", "fixed").submit(reply, last=False).reward == 5.0  # control


def test_a_reply_without_cards_and_formula_is_unreadable_in_the_official_mode_too() -> None:
    verdict = hand_of("3 3 8 8", "official").submit("I see nothing.", last=False)
    assert (verdict.outcome, verdict.reward) == ("unreadable", -3.0)


def test_feedback_says_that_cards_were_misread_and_not_which() -> None:
    for index, style in ((index, style) for index in range(10) for style in STYLES):
        problem = TASK.problem("id", 5, index, style)
        said = {
            problem.submit(write_reply(stated, [], formula, style), last=False).feedback
            for stated in (["2", "2", "2", "2", "2"], ["K"], [])
            for formula in ("2+2+2+2=24", "13=24", "-".join(map(str, problem.hand.numbers(problem.hand.scored))))
        }
        assert said == {
            "misread"
            if style == "terse"
            else "The reply does not state the cards in the picture. Look at it again, and state every card."
        }
    tokenizer = build_tokenizer()
    assert tokenizer.unk_token_id not in tokenizer("J 10 Q 10 K 10 target 24 cards misread")["input_ids"]


def test_the_text_task_does_not_ask_for_cards() -> None:
    problem = GeneralPoints().problem("id", 0, 0)
    verdict = problem.submit(write_reply([], problem.hand.numbers(problem.hand.scored), "1+1=24", "full"), last=False)
    assert (verdict.outcome, verdict.reward, verdict.read_right) == ("wrong_numbers", -2.0, True)


def test_a_guess_sees_nothing() -> None:
    problem = TASK.problem("id", 0, 0)
    guesses = [problem.guess(draw) for draw in range(100)]
    assert guesses == [problem.guess(draw) for draw in range(100)]
    verdicts = [problem.submit(guess, last=False) for guess in guesses]
    assert all(verdict.valid for verdict in verdicts)
    assert sum(bool(verdict.read_right) for verdict in verdicts) < 5
    assert {verdict.outcome for verdict in verdicts} <= {"solved", "misread", "wrong_value"}
    episodes = evaluate(random_guesser(), TASK, "id", 5, 5, "terse", seed=1)
    assert all(len(episode.turns) <= 5 for episode in episodes)


@pytest.mark.parametrize(
    ("word", "rank"),
    [
        ("A", "A"),
        ("ace", "A"),
        ("Ace of Spades", "A"),
        ("10", "10"),
        ("10♠", "10"),
        ("10 of hearts", "10"),
        ("10h", "10"),
        (" king of  clubs ", "K"),
        ("q♦\ufe0f", "Q"),
        ("7", "7"),
        ("1", "A"),
        ("11", "11"),
        ("ten", "ten"),
        ("K of K", "K of K"),
        ("", ""),
    ],
)
def test_words_for_cards(word: str, rank: str) -> None:
    assert rank_of(word) == rank


@pytest.mark.parametrize(
    "reply",
    [
        '{"cards": ["A", "10", "10", "K"], "number": [1, 10, 10, 10], "formula": "x"}',
        'Cards: [A, 10, 10, K], formula: "x"',
        "```json\n{'cards': ['ace', '10♣', '10 of spades', 'King'], 'formula': 'x'}\n```",
        '{"cards": [1, 10, 10, "K"], "formula": "x"}',
        'draft {"cards": ["2"]}, then {"cards": ["A", "10", "10", "K"], "formula": "x"}',
    ],
)
def test_cards_are_read_out_of_any_text(reply: str) -> None:
    assert read_reply(reply).cards == ("A", "10", "10", "K")


@settings(max_examples=150)
@given(st.text(max_size=200) | st.lists(st.sampled_from([*RANKS, "[", "]", '"', "cards", ":", ",", " "])).map("".join))
def test_no_text_raises(text: str) -> None:
    assert TASK.problem("id", 0, 0).submit(text, last=False).reward <= 5.0


@pytest.mark.parametrize(
    "text", ['"cards":[' * 11_000, "cards: [" + "A," * 50_000, "cards" + " " * 90_000, "[" * 10**6]
)
def test_any_reply_is_judged_soon(text: str) -> None:
    problem = TASK.problem("id", 0, 0)
    with within(0.5):
        assert problem.submit(text, last=False).outcome == "unreadable"


# ---------------------------------------------------------------- commands


def test_parquet_is_what_datasets_and_trl_take(tmp_path: Path) -> None:
    from datasets import load_dataset

    out = tmp_path / "data.parquet"
    assert main(["data", "gp-vl", "--n", "3", "--seed", "5", "--size", "64", "--out", str(out)]) == 0
    assert pq.read_table(out).column_names == ["id", "split", "messages", "images", "facts"]
    rows = load_dataset("parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    for index, row in enumerate(rows):
        problem = GeneralPointsVL(size=64).problem("train", 5, index)
        (message,) = problem.context()
        assert row["id"] == problem.id
        assert json.loads(row["facts"])["look"] == look("train", 5, index).facts()
        assert row["messages"] == [
            {
                "role": "user",
                "content": [{"type": "image", "text": None}, {"type": "text", "text": message.content}],
            },
            {"role": "assistant", "content": [{"type": "text", "text": problem.gold()}]},
        ]
        (image,) = row["images"]  # decoded
        np.testing.assert_array_equal(np.asarray(image), pixels_of(message.pictures[0]))


def test_jsonl_has_its_pictures_in_a_folder_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "hands.jsonl"
    for _ in range(2):  # also over an older one
        assert main(["data", "gp-vl", "--n", "2", "--style", "terse", "--size", "32", "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["images"] for row in rows] == [[f"hands-pictures/gp-vl-train-0-{index}-1.png"] for index in range(2)]
    for index, row in enumerate(rows):
        (picture,) = GeneralPointsVL(size=32).problem("train", 0, index, "terse").context()[0].pictures
        assert read_picture((tmp_path / row["images"][0]).read_bytes()) == picture
        assert row["messages"][0]["content"][0] == {"type": "image"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hands-pictures", "hands.jsonl"]


@pytest.mark.parametrize("name", ["data.parquet", "data.jsonl"])
def test_no_file_of_conversations_without_all_its_pictures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk is full at the second picture."""
    import ruleshift.pictures

    (tmp_path / name).write_text("before")
    whole, drawn = ruleshift.pictures.png, []

    def png(picture):
        drawn.append(picture)
        if len(drawn) == 2:
            raise OSError(28, "No space left on device")
        return whole(picture)

    monkeypatch.setattr(ruleshift.pictures, "png", png)
    assert main(["data", "gp-vl", "--n", "3", "--size", "32", "--out", str(tmp_path / name)]) == 2
    assert (tmp_path / name).read_text() == "before"
    assert not list(tmp_path.rglob(".tmp*"))


def test_play_saves_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (picture,) = GeneralPointsVL(size=64).problem("rule-ood", 0, 0).context()[0].pictures
    monkeypatch.setattr("rich.console.Console.input", lambda *_, **__: "1+1")
    command = ["play", "gp-vl", "--size", "64", "--turns", "2"]
    assert main([*command, "--pictures", str(tmp_path / "shown")]) == 0
    shown = tmp_path / "shown" / "gp-vl-rule-ood-0-0-1.png"
    assert f"picture: {shown}" in capsys.readouterr().out
    assert list(shown.parent.iterdir()) == [shown]
    assert read_picture(shown.read_bytes()) == picture
    for index in ("1", "0"):  # another problem leaves it, the same one takes its place
        assert main([*command, "--index", index, "--pictures", str(shown.parent)]) == 0
    assert {path.name for path in shown.parent.iterdir()} == {shown.name, "gp-vl-rule-ood-0-1-1.png"}
    assert read_picture(shown.read_bytes()) == picture
    capsys.readouterr()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main([*command, "--model", "expert"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("picture: ")]
    assert read_picture(Path(line.removeprefix("picture: ")).read_bytes()) == picture


def test_options_of_other_tasks_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("eval gp-l --size 64", "eval gp-vl --leak", "play gp-vl --views front", "eval virl-l --views grid"):
        with pytest.raises(SystemExit) as end:
            main(command.split())
        assert end.value.code == 2
        assert f"Unrecognized options: {command.split()[2]}" in capsys.readouterr().err
    for command, said in (
        ("play gp-l --pictures x", "--pictures is for tasks that show pictures, and gp-l does not"),
        ("play gp-vl --size 7", "a picture of cards has 32 to 2048 pixels a side, not 7"),
    ):
        assert said in refusal(capsys, *command.split())


def test_a_broken_picture_file_is_refused() -> None:
    buffer = io.BytesIO()
    from PIL import Image

    Image.fromarray(draw(TASK.problem("id", 0, 0).hand.cards, look("id", 0, 0), 64)).save(buffer, "JPEG")
    assert read_picture(buffer.getvalue()).width == 64
    for broken in (b"", b"\xff\xd8\xff\xe0 not much", buffer.getvalue()[:300]):
        with pytest.raises(RuleshiftError, match="is not read as a PNG or JPEG picture"):
            read_picture(broken)
