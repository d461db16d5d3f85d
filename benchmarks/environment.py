"""Speed of the GeneralPoints environment on one core, without a model.

    python benchmarks/environment.py

Three tables: all solutions of all hands; deal + prompt + verify, with those solutions known; and the slowest replies
that could be found for the parser. Replies to verify are written beforehand. "Reported" are the figures reported for
the official environment, 0.3 s for a reset and 9 ms for a step on two cores; this script does not measure them.
"""

import argparse
import statistics
import time
from itertools import combinations_with_replacement

from ruleshift.tasks.generalpoints import solver
from ruleshift.tasks.generalpoints.solver import solve
from ruleshift.tasks.generalpoints.task import GeneralPoints, GeneralPointsProblem
from ruleshift.tasks.protocol import Style
from timing import print_json, print_table, seconds

REPORTED_RESET, REPORTED_STEP = 0.3, 0.009  # seconds
LENGTH = 100_000
HARD_REPLIES = {
    "opening parentheses": "(" * LENGTH,
    "nested parentheses": "(" * (LENGTH // 2) + ")" * (LENGTH // 2),
    "one long number": "9" * LENGTH,
    "a long sum": "1+" * (LENGTH // 2),
    "divisions": "9/7/" * (LENGTH // 4),
    "spaces": " " * LENGTH,
    "line ends": "\n" * LENGTH,
    "backslashes": "\\" * LENGTH,
    "double quotes": '"' * LENGTH,
    "curly quotes": "“" * LENGTH,
    "opening braces": "{" * LENGTH,
    "opening brackets": "[" * LENGTH,
    "JSON lists": '{"formula":[' * (LENGTH // 12),
    "the word formula": "formula" * (LENGTH // 7),
    "empty fields": '"formula":' * (LENGTH // 10),
    "fields cut short": '"formula":"' * (LENGTH // 11),
    "fields with spaces": ('"formula"' + " " * 20 + ":") * (LENGTH // 30),
    "fields with long values": ('"formula":"' + "1" * 399 + "\n") * (LENGTH // 411),
    "fields that end": '"formula":"1+2=3"' * (LENGTH // 17),
    "numbers cut short": "number:[" * (LENGTH // 8),
    "number lists": '"number":[1,2,3,4]' * (LENGTH // 18),
    "starred words": "formula***" * (LENGTH // 10),
    "a long formula field": '{"cards":[],"number":[],"formula":"' + "(" * (LENGTH - 40) + '"}',
}


def turns_per_second(style: Style, turns: int, episodes: int, first: int) -> float:
    """Deal, prompt and `turns` replies to each of some problems, in turns per second."""
    task = GeneralPoints()
    indices = range(first, first + episodes)
    replies = [[_wrong_reply(task, style, index, turn) for turn in range(turns)] for index in indices]
    started = time.perf_counter()
    for index, texts in zip(indices, replies, strict=True):
        problem = task.problem("id", 0, index, style)
        problem.context()
        for turn, text in enumerate(texts):
            problem.submit(text, turn == turns - 1)
    return episodes * turns / (time.perf_counter() - started)


def _wrong_reply(task: GeneralPoints, style: Style, index: int, turn: int) -> str:
    return task.problem("id", 0, index, style).guess(turn)


def environment_rows(episodes: int, repeats: int) -> list[list[object]]:
    """Interleaved repetitions of every style and number of turns; medians."""
    styles: tuple[Style, ...] = ("full", "terse")
    cases = [(style, turns) for style in styles for turns in (1, 5)]
    rates: dict[tuple[Style, int], list[float]] = {case: [] for case in cases}
    for repeat in range(repeats):
        for case in cases:
            rates[case].append(turns_per_second(*case, episodes=episodes, first=repeat * episodes))
    rows: list[list[object]] = []
    for style, turns in cases:
        rate = statistics.median(rates[style, turns])
        reported = REPORTED_RESET / turns + REPORTED_STEP
        rows.append([f"{style}, {turns} turn{'s' * (turns > 1)}", rate, 1000 / rate, 1000 * reported, reported * rate])
    return rows


def solver_rows(repeats: int) -> list[list[object]]:
    """All solutions of the 1,820 multisets from nothing, then looked up."""
    hands = list(combinations_with_replacement(range(1, 14), 4))

    def solve_all() -> int:
        return sum(bool(solve(hand)) for hand in hands)

    cold = []
    for _ in range(repeats):
        solver._solve.cache_clear()
        solver._table.cache_clear()
        cold.append(seconds(solve_all))
    warm = [seconds(solve_all) for _ in range(repeats)]
    title = f"{len(hands):,} multisets, {solve_all():,} of them solvable"
    return [
        [f"{title}: from nothing", 1000 * statistics.median(cold)],
        ["the same, looked up", 1000 * statistics.median(warm)],
    ]


def parser_rows(repeats: int, shown: int = 5) -> list[list[object]]:
    """The slowest of the hard replies, by median milliseconds for one `submit`, in both modes of the verifier."""
    rows: list[list[object]] = []
    for compat in ("fixed", "official"):
        problem = GeneralPoints(compat=compat).problem("id", 0, 0)
        times = {name: _submit_ms(problem, text, repeats) for name, text in HARD_REPLIES.items()}
        slowest = sorted(times, key=lambda name: -times[name])[:shown]
        rows += [[f"{compat}: {name}", times[name]] for name in slowest]
    return rows


def _submit_ms(problem: GeneralPointsProblem, text: str, repeats: int) -> float:
    text = text[:LENGTH]
    return 1000 * statistics.median(seconds(lambda: problem.submit(text, True)) for _ in range(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=2000, help="episodes in one repetition (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions (default: %(default)s)")
    arguments = parser.parse_args()
    solutions = solver_rows(arguments.repeats)
    print_table("Every solution of every hand", ("work", "ms"), solutions)
    environment = environment_rows(arguments.episodes, arguments.repeats)
    columns = ("style", "turns/s", "ms/turn", "reported ms/turn", "times faster")
    print_table("Deal, prompt and verify", columns, environment)
    parsing = parser_rows(arguments.repeats)
    print_table(f"Replies of {LENGTH:,} characters, the slowest", ("reply", "ms"), parsing)
    results = {"solver": solutions, "environment": environment, "parser": parsing}
    print_json("environment", vars(arguments), results)


if __name__ == "__main__":
    main()
