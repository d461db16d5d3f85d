"""Time of the page: how soon its first screen stands, and how soon an episode that is asked for.

    python benchmarks/page.py --episodes 4000            # in a page of its own
    python benchmarks/page.py --episodes 22000 --serve   # behind `ruleshift report --serve`

Made-up episodes of a study with three arms are written with the study's own writer. `Page made` is what the command
line waits for before anything can be opened; the other times are those of a headless Chromium, a fresh one each time,
from the request on: `first screen` until the verdict, the first figure and the list with its first episode are painted,
`episode` from a key until the next one is painted (the median of `--keys` of them, and the slowest one), `search` from
Enter until its findings are listed. Processor seconds are those of the server and of all processes of the browser.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from ruleshift.evaluation.statistics import wilson_interval
from ruleshift.results import Row, save_results
from ruleshift.rollouts import KeptEpisode, KeptTurn, point_file, save
from timing import print_json, print_table

ARMS = {"base": 1, "sft": 6, "rl": 6}  # points of each
SEEDS, SPLITS = (0, 1), ("id", "rule-ood", "heldout", "fake")
DECODINGS, TURNS, TOKENS = ("greedy", "sampled"), 5, 36
PROMPT = "Cards of {}, drawn from a deck. " + "J, Q and K count 11, 12 and 13. Reach 24 with each card once. " * 5
WORDS = ["{", '"formula"', ": ", "(", "13", "-", "5", ")", "*", "3", "=", "24", "}"]
DRAWN = ".first .main-svg", ".panel .bubble"
PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"
TICKS = os.sysconf("SC_CLK_TCK")


def runs() -> Iterator[tuple[str, int, int]]:
    """Arm, seed and step of every evaluation."""
    for arm, points in ARMS.items():
        for seed in SEEDS if points > 1 else SEEDS[:1]:
            for point in range(1, points + 1):
                yield arm, seed, 10 * point if points > 1 else 0


def episode(draw: random.Random, problem: str, split: str, decoding: str) -> KeptEpisode:
    turns, messages = [], [("user", PROMPT.format(problem), ())]
    for _ in range(TURNS):
        pieces = tuple(draw.choices(WORDS, k=TOKENS))
        logs = [tuple(round(-draw.expovariate(3), 4) for _ in pieces) for _ in range(2)]
        right = draw.random() < 0.2
        outcome, reward = ("solved", 5.0) if right else ("wrong_value", -1.0)
        known = {"ids": tuple(range(TOKENS)), "logprobs": logs[0], "start": logs[1], "found": "24" if right else "21"}
        turns.append(KeptTurn("".join(pieces), pieces, outcome=outcome, reward=reward, right=right, **known))
        messages += [("assistant", turns[-1].text, ()), ("user", f"The formula equals {turns[-1].found}.", ())]
        if right:
            break
    return KeptEpisode(problem, split, decoding, tuple(messages), tuple(turns), why="evaluation")


def write_study(folder: Path, episodes: int) -> int:
    """Results and about so many episodes; how many there are."""
    draw, places, rows = random.Random(0), list(runs()), []
    cells = [(split, decoding) for split in SPLITS for decoding in DECODINGS]
    problems = -(-episodes // (len(places) * len(cells)))
    for arm, seed, step in places:
        kept = [
            episode(draw, f"gp-l/{split}/0/{index}", split, decoding)
            for split, decoding in cells
            for index in range(problems)
        ]
        save(point_file(folder / "arms" / f"{arm}-seed{seed}", step), kept)
        for split, decoding in cells:
            told = [e.summary()["solved_at"] for e in kept if (e.split, e.decoding) == (split, decoding)]
            for turns in (1, TURNS):
                solved = sum(0 < at <= turns for at in told)
                where = ("gp-l", arm, seed, step, split, "success", turns, decoding)
                spent = {"kl_to_start": step / 100, "train_flops": step * 1e12}
                rows.append(Row(*where, solved / problems, problems, *wilson_interval(solved, problems), **spent))
    save_results(folder / "results.json", rows, {"title": "A study made up to be opened"})
    return problems * len(places) * len(cells)


def processor_seconds(process: int) -> float:
    """Of a process and those that it started, as far as they still run."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.parent.name)] = int(fields[1]), sum(map(int, fields[11:15])) / TICKS
    family = {process}
    while more := {child for child, (parent, _) in parents.items() if parent in family} - family:
        family |= more
    return sum(parents[member][1] for member in family if member in parents)


@contextmanager
def address(folder: Path, served: bool) -> Iterator[tuple[str, float, int | None]]:
    """Where the page is, after how many seconds it was there, and the process that serves it."""
    command = [sys.executable, "-m", "ruleshift", "report", str(folder)]
    started = time.perf_counter()
    if not served:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        yield (folder / "report.html").as_uri(), time.perf_counter() - started, None
        return
    with subprocess.Popen([*command, "--serve", "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[0]
        try:
            yield url, time.perf_counter() - started, server.pid
        finally:
            server.terminate()


def until_painted(page: Page, *selectors: str) -> None:
    for selector in selectors:
        page.wait_for_selector(selector, state="attached")
    page.evaluate(PAINTED)


def visit(play: Any, browser: str, url: str, server: int | None, keys: int) -> dict[str, float]:
    """The times of one reader in a fresh browser."""
    opened = play.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
    before = processor_seconds(server) if server else 0.0
    page = opened.new_page(viewport={"width": 1280, "height": 900})
    found: dict[str, float] = {}
    page.goto("about:blank")
    started = time.perf_counter()
    page.goto(url, wait_until="commit")
    until_painted(page, *DRAWN)
    found["first screen s"] = time.perf_counter() - started
    if server:
        found["server's processor s"] = processor_seconds(server) - before
    asked = []
    for _ in range(keys):
        number = page.get_attribute(".panels", "data-number")
        started = time.perf_counter()
        page.keyboard.press("j")
        until_painted(page, f".panels:not([data-number='{number}'])")
        asked.append(time.perf_counter() - started)
    found["episode s"], found["slowest episode s"] = statistics.median(asked), max(asked)
    count = page.inner_text(".count")
    page.fill("[name=q]", "(13-5)*3=24")
    started = time.perf_counter()
    page.press("[name=q]", "Enter")
    while page.inner_text(".count") == count:
        time.sleep(0.005)
    found["search s"] = time.perf_counter() - started
    opened.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=4000, help="about as many (default: %(default)s)")
    parser.add_argument("--serve", action="store_true", help="behind a server instead of in one file")
    parser.add_argument("--repeats", type=int, default=5, help="fresh browsers (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=15, help="episodes asked for in each (default: %(default)s)")
    parser.add_argument("--browser", default="/usr/bin/chromium", help="(default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as play:
        folder = Path(name)
        count = write_study(folder, arguments.episodes)
        with address(folder, arguments.serve) as (url, made, server):
            visits = [visit(play, arguments.browser, url, server, arguments.keys) for _ in range(arguments.repeats)]
            size = (folder / "report.html").stat().st_size / 1e6 if server is None else 0.0
    medians = {name: statistics.median(found[name] for found in visits) for name in visits[0]}
    rows: list[list[object]] = [["page made s", made, made], ["page MB", size, size]]
    rows += [[name, value, max(found[name] for found in visits)] for name, value in medians.items()]
    where = "served" if arguments.serve else "in one file"
    print_table(f"{count:,} episodes, {where}", ("", "median", "most"), rows)
    print_json("page", vars(arguments), {"episodes": count, "made_s": made, "page_mb": size, "visits": visits})


if __name__ == "__main__":
    main()
