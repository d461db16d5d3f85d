"""What is seen of a study at work: counts from the first moment on, and the time left for the whole."""

import io
from typing import Any

import pytest
from rich.console import Console

from ruleshift.studies.board import Board, Course, Expected, Pace, time_left

RUNS = [
    Course("gp-l rl-seed0", "gp-l RL", 4),
    Course("gp-l sft-seed0", "gp-l SFT", 10),
    Course("gp-l sft-seed1", "gp-l SFT", 10),
]


def pace(
    kind: str, length: int, points: tuple[int, ...] = (), unit: float = 1.0, point: float = 0.0, **state: Any
) -> Pace:
    """`heard` of where it has begun, at the time that is given, else at its end."""
    if "began" in state and "heard" not in state:
        state["heard"] = state["began"] + state.get("took", 0.0)
    return Pace(Course(kind, kind, length, points, Expected(unit, point)), **state)


def test_nothing_is_known_at_first() -> None:
    assert time_left([pace("a", 10), pace("b", 3)], 1, 100.0) is None


def test_a_run_goes_on_at_its_pace() -> None:
    assert time_left([pace("a", 10, done=4, first=0, began=100.0, heard=120.0)], 1, 120.0) == pytest.approx(30.0)
    resumed = pace("a", 10, done=6, first=4, began=100.0, heard=120.0)  # 4 by an earlier call: 2 took 20 seconds
    assert time_left([resumed], 1, 120.0) == pytest.approx(40.0)


def test_runs_that_have_not_begun_take_as_long_as_their_like() -> None:
    late = pace(
        "a", 400, done=3, first=1, began=0.0, first_at=40.0, heard=42.0
    )  # 40 seconds until the first step, then 1 each
    assert time_left([late], 1, 42.0) == pytest.approx((40.0 + 400.0) * (1 - 3 / 400))
    done = pace("sft", 10, done=10, first=0, began=0.0, took=50.0)
    under_way = pace("rl", 4, done=2, first=0, began=50.0, heard=150.0)
    assert time_left([done, under_way, pace("sft", 10)], 1, 150.0) == pytest.approx(100.0 + 50.0)
    assert time_left([done, under_way, pace("sft", 10)], 2, 150.0) == pytest.approx(100.0)  # no sooner than the longest
    assert time_left([done], 1, 150.0) == 0.0


def test_what_nothing_is_known_of_is_as_much_slower_than_expected_as_others() -> None:
    done = pace("sft", 10, unit=2.5, done=10, first=0, began=0.0, took=50.0)  # twice what was expected
    assert time_left([done, pace("rl", 4, unit=20.0)], 1, 50.0) == pytest.approx(2 * 80.0)
    slow = pace("rl", 4, unit=20.0, done=4, first=0, began=0.0, took=240.0)  # three times
    assert time_left([done, slow, pace("rl", 2, unit=20.0)], 1, 240.0) == pytest.approx(3 * 40.0)  # its like count
    assert time_left([done, slow, pace("new", 1, unit=21.0)], 1, 240.0) == pytest.approx(290.0 / 105.0 * 21.0)


def test_a_point_counts_as_what_it_takes() -> None:
    seen = {"points": (3, 10), "point": 20.0}  # the first step after 5 seconds, one a second, 20 for a point
    under_way = pace("sft", 10, **seen, done=3, first=1, began=0.0, first_at=5.0, heard=27.0)
    assert time_left([under_way], 1, 27.0) == pytest.approx((5.0 + 50.0) * 27 / 50)  # 7 steps and a point
    shorter = pace("sft", 10, points=(10,), point=20.0)  # measured once
    both = [under_way, shorter]
    assert time_left(both, 1, 27.0) == pytest.approx((5.0 + 50.0) * 27 / 50 + (5.0 + 50.0) * 30 / 50)


def test_measuring_says_nothing_of_the_pace() -> None:
    """The first step after 5 seconds, the second a second later, then 200 seconds of silence, in which it measures."""
    measuring = pace("sft", 10, (3, 10), point=20.0, done=2, first=1, began=0.0, first_at=5.0, heard=6.0)
    whole = 5.0 + 50.0
    assert time_left([measuring], 1, 16.0) == pytest.approx(whole * 48 / 50 - 10.0)
    assert time_left([measuring], 1, 206.0) == 0.0
    assert time_left([measuring, pace("sft", 10)], 1, 206.0) == pytest.approx(whole / 50.0 * 10.0)


def test_what_an_earlier_call_had_finished_says_nothing_of_the_pace() -> None:
    said = io.StringIO()
    with Board(RUNS, 1, Console(file=said)) as board:
        board.reach("gp-l sft-seed0", 0)
        board.reach("gp-l sft-seed0", 10)
        board.reach("gp-l sft-seed0", 10, ended=True)
        assert board.left() == ""


def test_lines_where_there_is_no_terminal() -> None:
    said = io.StringIO()
    with Board(RUNS, 1, Console(file=said, width=200)) as board:
        for done in range(11):
            board.reach("gp-l sft-seed0", done)
        board.reach("gp-l sft-seed0", 10, ended=True)
        board.say("arm x diverged")
    lines = said.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines[:-1]] == [f"gp-l sft-seed0: {n} of 10" for n in (3, 5, 8, 10)]
    assert all("left in all" in line for line in lines[:-1])
    assert lines[-1] == "arm x diverged"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_bars_show_counts_and_never_a_question_mark(width: int) -> None:
    said = io.StringIO()
    with Board(RUNS, 1, Console(file=said, width=width, force_terminal=True)) as board:
        board.reach("gp-l rl-seed0", 1)
        board.bars.refresh()
    text = said.getvalue()
    assert "?" not in text.replace("\x1b[?25l", "").replace("\x1b[?25h", "")
    assert text.count("waiting") >= 2
    assert "1/4" in text
    assert "0/3 runs" in text
