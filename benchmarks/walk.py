"""Walking speed: steps per second of routes, the local engine against `model.generate` with fresh prompts.

    python benchmarks/walk.py                     # the bundled backbone, 160 routes, 128 at once, two threads
    python benchmarks/walk.py --routes 64 --batch 32

Both sides walk the same routes of V-IRL through the same loop (`ruleshift.revision.revise`), at temperature 1 with two
tries at a position, and refill their batch as routes end. The local engine keeps one cache along the growing history;
`generate` gets the whole history anew for every step, padded on the left. A step is one reply with its verdict.
Repetitions are interleaved. A last line times the verifier alone, on the expert's replies. `world.py` times the world.
"""

import argparse
import statistics
import time

import torch

from engine import GenerateEngine
from ruleshift.backbones.load import load_backbone
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Engine, Sampling
from ruleshift.engines.text import expert_messages
from ruleshift.quiet import quiet_libraries
from ruleshift.revision import revise
from ruleshift.tasks import get_task
from timing import print_json, print_table

TASK = get_task("virl-l")


def walked(engine: Engine, routes: int, style: str) -> tuple[int, float]:
    """Steps made, and seconds."""
    problems = [TASK.problem("id", 0, index, style) for index in range(routes)]  # type: ignore[arg-type]
    began = time.perf_counter()
    episodes = revise(problems, engine, TASK.default_turns)
    return sum(len(episode.turns) for episode in episodes), time.perf_counter() - began


def verdict_rate(count: int = 400) -> float:
    """Verdicts per second on the expert's replies."""
    walks = []
    for index in range(count):
        said = expert_messages(TASK.problem("id", 0, index))
        walks.append((TASK.problem("id", 0, index), [m.content for m in said if m.role == "assistant"]))
    began = time.perf_counter()
    for problem, replies in walks:
        for reply in replies:
            problem.submit(reply, last=False)
    return sum(len(replies) for _, replies in walks) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help="bundled, a folder, or a hub id")
    parser.add_argument("--routes", type=int, default=160)
    parser.add_argument("--batch", type=int, default=128, help="routes walked at once")
    parser.add_argument("--max-new-tokens", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet_libraries()
    backbone = load_backbone(options.model, device="cpu")
    sampling = Sampling(1.0, options.max_new_tokens, 0)
    engines: dict[str, Engine] = {
        "local": LocalEngine(backbone.model, backbone.chat, sampling, options.batch),
        "generate": GenerateEngine(backbone.model, backbone.chat, sampling, options.batch),
    }
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        walked(engine, options.batch // 4, backbone.style)  # warm-up
    for repeat in range(options.repeats):
        for name in list(engines) if repeat % 2 == 0 else reversed(list(engines)):
            steps, seconds = walked(engines[name], options.routes, backbone.style)
            rates[name].append(steps / seconds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratio = medians["local"] / medians["generate"]
    print_table(
        f"steps per second, {options.routes} routes, {options.batch} at once",
        ("", "local engine", "`generate`", "times faster"),
        [("steps/s", medians["local"], medians["generate"], ratio)],
    )
    verdicts = verdict_rate()
    print_table("the verifier alone, one core", ("", "per second"), [("verdicts", verdicts)])
    print_json("walk", vars(options), {"rates": rates, "ratio": ratio, "verdicts": verdicts})


if __name__ == "__main__":
    main()
