"""On one GPU, in at most ten minutes: are the numbers those of a CPU, and how fast is it?

    python benchmarks/gpu.py --model smollm2
    python benchmarks/gpu.py --model smollm2 --parts study
    python benchmarks/gpu.py --device cpu --threads 1 --batch 4 --turns 2 --episodes 8 --group 2 --updates 1 --repeats 1
    python benchmarks/gpu.py --device cpu --threads 1 --parts study --minutes 3 --study="--quick --tasks gp-l --n 4
        --preset tiny --points 1 --set warm_steps=1 --set sft.steps=2 --set rl.updates=2 --set rl.episodes=8"

The last two lines try the script. Agreement: episodes sampled on the CPU in float32 are read on the device, and PPO
makes an update of both from the same start. Log-probs of reply tokens, losses and the norm of the gradient are
compared; in float32 without TF32 they must be the same but for rounding (`TOLERANCE`), or the script ends with status 1
before anything is timed. With TF32, and in bfloat16, the difference is only told.

A step: milliseconds for one more token of `STEP_ROWS` conversations with `STEP_WIDTH` in the cache, through
transformers, as the engine does it, and that replayed as a CUDA graph: how much of a step is launching.

Speed: reply tokens a second of the local engine beside `model.generate`, as in `engine.py`, in the dtype in which
models sample on the device; episodes a second of whole updates beside TRL's GRPOTrainer, as in `grpo.py`, in float32
(TF32 on a GPU). Shares of peak are FLOPs as `training/accounting.py` counts them over those that this device does in
one large matrix product of the same dtype.

No repetition begins after `--minutes`, less a sixth for the last one to end.

Study (only where `--parts` names it; not tried on a GPU): the GPU size of `ruleshift study smollm2`, one seed, in a
process of its own until it ends or `--minutes` are over. What it took is told, and where it was stopped, how far it
came; its folder `--out` stays, and the same command goes on in it.
"""

import argparse
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from engine import GenerateEngine, Timed
from grpo import EPOCHS, MINIBATCHES, TakingTurns, grpo, our_trainer
from ruleshift.backbones.load import Backbone, load_backbone
from ruleshift.engines.forward import Forward, ModelForward, forward_of
from ruleshift.engines.llama import FusedLlama
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.engines.window import Window
from ruleshift.quiet import quiet_libraries
from ruleshift.records import Episode
from ruleshift.tasks import get_task
from ruleshift.training.accounting import Sizes, TokenCount
from ruleshift.training.trajectories import Trajectory, evaluate_tokens
from timing import median_rate, print_json, print_table

TOLERANCE = {"log-probs, nats": 2e-3, "losses, relatively": 1e-2}  # float32, other order of sums
COMPARED = ("value_loss", "policy_loss", "kl_to_start", "entropy", "grad_norm")
STEP_ROWS, STEP_WIDTH = (64, 256), 400
PARTS = ("agreement", "steps", "sampling", "updates", "study")
USUAL = PARTS[:-1]
TO_END = 30  # seconds that a stopped study has to do so
PEAK_SIDE = {"cpu": 1024, "cuda": 8192}


def agreement(model: str, device: str, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """How far the device is from the CPU at most, in every precision that it has."""
    here = load_backbone(model, "cpu", "float32")
    episodes = our_trainer(here, get_task("gp-l"), arguments).rollout.collect(0)
    read, told = _read(here, episodes), _told(here, episodes, arguments)
    kinds = {"float32": ("float32", False), "TF32": ("float32", True), "bfloat16": ("bfloat16", False)}
    found = {}
    for name, (dtype, tf32) in kinds.items():
        if name == "TF32" and device == "cpu":
            continue
        there = load_backbone(model, device, dtype)
        torch.backends.cuda.matmul.allow_tf32 = tf32
        found[name] = {"log-probs, nats": float((_read(there, episodes) - read).abs().max())}
        if dtype == "float32":
            others = _told(there, episodes, arguments)
            found[name] |= {"losses, relatively": max(_apart(told[part], others[part]) for part in COMPARED)}
    return found


def _read(backbone: Backbone, episodes: list[Episode]) -> torch.Tensor:
    """Log-probs of reply tokens."""
    trajectories = [Trajectory.of(episode) for episode in episodes]
    return torch.cat(evaluate_tokens(backbone.model, trajectories, 3000)[0]).cpu()


def _told(backbone: Backbone, episodes: list[Episode], arguments: argparse.Namespace) -> dict[str, float]:
    """What PPO says of an update from these episodes, which it makes."""
    rl = our_trainer(backbone, get_task("gp-l"), arguments)
    return rl.learn(rl.estimate(episodes)[0])


def _apart(one: float, other: float) -> float:
    return abs(one - other) / max(abs(one), abs(other), 1e-6)


def peak(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of one large matrix product."""
    side = PEAK_SIDE[device]
    square = torch.randn(side, side, device=device, dtype=dtype)

    def multiply() -> None:
        (square @ square)[0, 0].item()  # waits for it

    return median_rate(multiply, 2.0 * side**3)


def stepping(backbone: Backbone) -> dict[str, dict[str, float]]:
    """Milliseconds of a step of decoding, by how many conversations take it, in each way; a graph on a GPU alone, of a
    fused pass."""
    found: dict[str, dict[str, float]] = {}
    for rows in STEP_ROWS:
        ways = {"transformers": ModelForward(backbone.model), "engine": forward_of(backbone.model)}
        found[str(rows)] = {name: _step(way, backbone, rows) for name, way in ways.items()}
        if isinstance(ways["engine"], FusedLlama) and backbone.model.device.type == "cuda":
            found[str(rows)]["graph"] = _step(ways["engine"], backbone, rows, graph=True)
    return found


@torch.inference_mode()
def _step(forward: Forward, backbone: Backbone, rows: int, graph: bool = False) -> float:
    model = backbone.model
    window = Window.empty(forward.new_cache(rows), rows, model.dtype, model.device)

    def ready(count: int) -> Callable[[], torch.Tensor]:
        position, mask = window.extend(torch.ones(rows, count, dtype=torch.bool, device=model.device))
        ids = torch.full((rows, count), backbone.chat.pad_id, device=model.device)
        return lambda: forward(ids, position, mask, window.cache)

    def step() -> None:
        ready(1)()[0, 0].item()  # waits for it

    ready(STEP_WIDTH)()
    step()
    return 1000 / median_rate(_recorded(ready(1)) if graph else step, 1.0, repeats=30)


def _recorded(step: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """The same step again and again, as a CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = step()

    def replay() -> None:
        graph.replay()
        logits[0, 0].item()

    return replay


def sampling(backbone: Backbone, until: float, arguments: argparse.Namespace) -> dict[str, float]:
    """Reply tokens a second of the engine and of `generate`, in turns, and the share of peak of the first."""
    rates: dict[str, list[float]] = {"engine": [], "generate": []}
    spent: list[float] = []  # FLOP/s
    sizes = Sizes.of(backbone.model)
    for repeat in range(-1, arguments.repeats):  # the first repetition warms up and is not counted
        if repeat > 0 and time.monotonic() > until:
            break
        problems = [get_task("gp-l").problem("id", repeat % 2**31, i, backbone.style) for i in range(arguments.batch)]
        how = Sampling(1.0, arguments.max_new_tokens, arguments.seed)
        ours = Timed(LocalEngine(backbone.model, backbone.chat, how, arguments.batch), problems, arguments.turns)
        theirs = Timed(GenerateEngine(backbone.model, backbone.chat, how, arguments.batch), problems, arguments.turns)
        for run in (ours, theirs) if repeat % 2 else (theirs, ours):
            run.start()
        if repeat >= 0:
            rates["engine"].append(ours.rate)
            rates["generate"].append(theirs.rate)
            read = sum(len(episode.token_ids) for episode in ours.episodes)
            spent.append(TokenCount(forward=read).flops(sizes) / ours.took)
    result = {name: statistics.median(rate) for name, rate in rates.items()}
    share = statistics.median(spent) / peak(backbone.model.device.type, backbone.model.dtype)
    return result | {"ratio": result["engine"] / result["generate"], "share of peak": share}


class Deadline(TrainerCallback):
    """Has a trainer stop once the time is over, at the end of an update."""

    def __init__(self, until: float) -> None:
        self.until = until

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        whole = state.global_step % (EPOCHS * MINIBATCHES) == 0
        control.should_training_stop |= whole and time.monotonic() > self.until


def updates(backbone: Backbone, until: float, arguments: argparse.Namespace) -> dict[str, float]:
    """Episodes a second of whole updates of both trainers, in turns, and the share of peak of ours."""
    task = get_task("gp-l")
    with tempfile.TemporaryDirectory() as folder:
        trainer = grpo(backbone, task, Path(folder), arguments)
        turns = TakingTurns(our_trainer(backbone, task, arguments), EPOCHS * MINIBATCHES)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(turns)
        trainer.add_callback(Deadline(until))
        trainer.train()
    counted = {name: times[1:] for name, times in turns.times.items()}
    if not counted["trl"]:
        return {}
    result = {name: arguments.episodes / statistics.median(times) for name, times in counted.items()}
    flops = [metrics["train_flops"] for metrics in turns.metrics]
    speeds = [(new - old) / took for old, new, took in zip(flops, flops[1:], counted["ruleshift"], strict=False)]
    share = statistics.median(speeds) / peak(backbone.model.device.type, torch.float32)
    return result | {"ratio": result["ruleshift"] / result["trl"], "share of peak": share}


def study(arguments: argparse.Namespace, until: float) -> dict[str, object]:
    """The study in a process of its own, which is stopped in time as by Ctrl-C: seconds, and whether it came to its
    end. Ends this script where the study fails."""
    ruleshift = [sys.executable, "-m", "ruleshift", "study"]
    asked = ["--preset", "gpu", "--model", arguments.model, "--out", str(arguments.out), *shlex.split(arguments.study)]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if arguments.device == "cpu" else {}
    began = time.monotonic()
    process = subprocess.Popen([*ruleshift, "smollm2", *asked], env={**os.environ, **hidden})
    try:
        status: int | None = process.wait(max(1.0, until - TO_END - began))
    except subprocess.TimeoutExpired:
        status = None
        process.send_signal(signal.SIGINT)
        try:
            process.wait(TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    took = time.monotonic() - began
    if status:
        sys.exit(f"the study ended with status {status}")
    if status is None and (arguments.out / "study.json").is_file():
        subprocess.run([*ruleshift, "status", str(arguments.out)], check=False)
    elif status is None:
        print("the study was stopped before its warm start was trained")
    return {"seconds": round(took, 1), "ended": status is not None, "asked": shlex.join(asked)}


def too_far(found: Mapping[str, float]) -> list[str]:
    """What differs by more than rounding explains."""
    return [f"{name}: {found[name]:.2g} > {most:g}" for name, most in TOLERANCE.items() if not found[name] <= most]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help='"bundled", "smollm2", a folder or a hub id')
    parser.add_argument("--parts", nargs="+", default=USUAL, choices=PARTS, help="by default all but study")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cuda", "cpu"))
    parser.add_argument("--batch", type=int, default=256, help="conversations at once (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="budget of turns (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=192, help="replies in an update (default: %(default)s)")
    parser.add_argument("--group", type=int, default=8, help="replies to a prompt (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=5, help="updates that count (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of sampling (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=36, help="longest reply (default: %(default)s)")
    parser.add_argument("--kl", type=float, default=0.05, help="weight of the KL in both (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=8, help="threads of torch (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of deals and samples (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which no repetition begins")
    parser.add_argument("--study", default="", help="further options of `ruleshift study smollm2`, in quotes")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-study"), help="its folder (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.episodes % (MINIBATCHES * arguments.group):
        parser.error(f"--episodes must be a multiple of {MINIBATCHES} times --group")
    return arguments


def check_agreement(name: str, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Show it, and end this script where numbers are not those of a CPU."""
    small = argparse.Namespace(**{**vars(arguments), "episodes": 2 * MINIBATCHES * arguments.group})
    apart = agreement(arguments.model, arguments.device, small)
    columns = list(TOLERANCE)
    rows = [[name, *(found.get(column, "-") for column in columns)] for name, found in apart.items()]
    print_table(f"{arguments.model} on {name}: largest differences from a CPU in float32", ("", *columns), rows)
    faults = too_far(apart["float32"])
    if faults:
        sys.exit(f"the device does not give the numbers of a CPU ({'; '.join(faults)})")
    return apart


def show_steps(steps: Mapping[str, Mapping[str, float]]) -> None:
    ways = list(dict.fromkeys(way for of in steps.values() for way in of))
    rows = [[count, *(f"{of[way]:.2f}" for way in ways)] for count, of in steps.items()]
    print_table("ms a step of decoding, float32", ("conversations", *ways), rows)


def main() -> None:
    arguments = parsed()
    began = time.monotonic()
    quiet_libraries()
    torch.set_num_threads(arguments.threads)
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    found: dict[str, object] = {}
    if "agreement" in arguments.parts:
        found["apart"] = check_agreement(name, arguments)
    if "steps" in arguments.parts:
        found["steps"] = steps = stepping(load_backbone(arguments.model, arguments.device, "float32"))
        show_steps(steps)
    speed: dict[str, dict[str, float]] = {}
    if "sampling" in arguments.parts:
        sampler = load_backbone(arguments.model, arguments.device)
        speed["sampling"] = sampling(sampler, began + 30 * arguments.minutes, arguments)
        del sampler
    if "updates" in arguments.parts:
        learner = load_backbone(arguments.model, arguments.device, "float32")
        speed["updates"] = updates(learner, began + 50 * arguments.minutes, arguments)
        del learner
    for part, (ours, theirs) in {"sampling": ("engine", "generate"), "updates": ("ruleshift", "trl")}.items():
        if speed.get(part):
            header = (part, ours, theirs, "times faster", "share of peak")
            print_table("tokens/s" if part == "sampling" else "episodes/s", header, [["median", *speed[part].values()]])
    if "study" in arguments.parts:
        found["study"] = study(arguments, began + 60 * arguments.minutes)
    given = {**vars(arguments), "parts": list(arguments.parts), "out": str(arguments.out), "name": name}
    print_json("gpu", given, {**found, **speed})


if __name__ == "__main__":
    main()
