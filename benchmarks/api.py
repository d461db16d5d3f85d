"""Models behind a server: how near the time of an evaluation comes to the ideal.

A server in this process answers after 0.1 to 10 s, drawn for each answer; `--concurrency` conversations are live at
once. Ideal: the sum of all waiting over the concurrency, or the longest conversation, whichever is longer. Part of what
is above it is the end, when fewer conversations are left than could be live: a simulation of the same waits without any
work, in the order of the driver, says how much, and only what is above that is the client's. With `--scale 0.2` all
waits are a fifth, and what the client adds weighs five times as much.

    python benchmarks/api.py                      # 1,600 conversations (four splits of 400), 64 at once: 4 minutes
    python benchmarks/api.py --scale 0.2          # 1 minute
"""

import argparse
import heapq
import random
import sys
import time
from collections import defaultdict, deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from faulty_server import NAME, Script, serving
from ruleshift.engines.api import ApiModel, Server
from ruleshift.engines.protocol import Sampling
from ruleshift.engines.spending import Budget, Spending
from ruleshift.engines.wire import Asking
from ruleshift.evaluation.asking import Questions, ask
from ruleshift.revision import AHEAD
from ruleshift.tasks import get_task

MOST = 1.15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1600, help="conversations")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--scale", type=float, default=1.0, help="of all waits")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    waits: dict[str, list[float]] = defaultdict(list)

    def wait(body: dict) -> float:
        """Drawn from the seed of the request, so that every run waits alike."""
        seconds = options.scale * random.Random(f"{options.seed}/{body['seed']}").uniform(0.1, 10.0)
        waits[body["messages"][0]["content"]].append(seconds)
        return seconds

    task = get_task("gp-l")
    questions = Questions(task, ("id",), options.n, 3, seed=7)
    gold = {}
    for place in questions.places():
        problem = task.problem(place.split, 7, place.index)
        gold[problem.context()[0].content] = problem.gold()
    script = Script(lambda body: gold[body["messages"][0]["content"]] if body["seed"] % 2 else "no", wait=wait)
    with serving(script) as url:
        server = Server(url, "", options.concurrency, timeout=60.0)
        model = ApiModel(server, Asking(NAME, Sampling(seed=7)), Spending(Budget()))
        began = time.monotonic()
        episodes = ask(questions, model.answerer)
        taken = time.monotonic() - began
    sums = [sum(waits[prompt]) for prompt in dict.fromkeys(gold)]
    total, longest = sum(sums), max(sums)
    ideal = max(total / options.concurrency, longest)
    turns = sum(len(episode.turns) for episode in episodes.values())
    print(f"{len(episodes)} conversations, {turns} answers, {options.concurrency} at once")
    print(f"ideal {ideal:.1f} s: waiting {total:.0f} s, longest conversation {longest:.1f} s")
    least = without_work([waits[prompt] for prompt in dict.fromkeys(gold)], options.concurrency)
    print(f"without any work: {least:.1f} s, {least / ideal:.3f} of the ideal")
    print(f"taken: {taken:.1f} s, {taken / ideal:.3f} of the ideal (at most {MOST}), {taken / least:.3f} of no work")
    return int(taken / ideal > MOST)


def without_work(conversations: list[list[float]], concurrency: int) -> float:
    """When the last conversation ends in the order of the driver, if no place for an answer is ever left empty."""
    new, begun = deque(range(len(conversations))), deque[int]()
    busy: list[tuple[float, int]] = []
    now, done = 0.0, [0] * len(conversations)
    while new or begun or busy:
        while (new or begun) and len(busy) < concurrency:
            which = (new or begun).popleft()
            heapq.heappush(busy, (now + conversations[which][done[which]], which))
        now, which = heapq.heappop(busy)
        done[which] += 1
        if done[which] == len(conversations[which]):
            continue
        if begun or 0 < len(new) <= AHEAD * concurrency:
            begun.append(which)
        else:
            heapq.heappush(busy, (now + conversations[which][done[which]], which))
    return now


if __name__ == "__main__":
    sys.exit(main())
