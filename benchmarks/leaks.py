"""Memory, open files, threads and child processes over many evaluations in one process.

    python benchmarks/leaks.py                 # 1,000 evaluations of a problem each; about five minutes of one core
    python benchmarks/leaks.py --n 100

Each is `ruleshift eval` as a user calls it: the model is loaded, results and conversations are written. Every tenth one
is of a task in pictures. Memory that grows between the second row and the last is a leak; the first tenth fills caches.
"""

import argparse
import contextlib
import gc
import io
import os
import tempfile
import threading
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
ROWS = 10


def resident() -> float:
    """Memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def children() -> int:
    """Child processes, of any thread of this one; the dead that nobody has waited for count, too."""
    return sum(len((task / "children").read_text().split()) for task in Path("/proc/self/task").iterdir())


def row(done: int) -> str:
    handles = len(os.listdir("/proc/self/fd")) - 1  # one is that of the listing
    return f"| {done:,} | {resident():.0f} | {handles} | {threading.active_count()} | {children()} |"


def evaluate(number: int, folder: Path) -> None:
    """One small evaluation."""
    from ruleshift.cli import main

    task = ("gp-l", "virl-l")[number % 2] if number % 10 else ("gp-vl", "virl-vl")[number // 10 % 2]
    files = ["--json", str(folder / "results.json"), "--episodes", str(folder / "episodes.parquet")]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(["eval", task, "--n", "1", "--turns", "2", "--seed", str(number), "--split", "id", *files])
    if status:
        raise SystemExit(f"evaluation {number} ended with status {status}:\n{said.getvalue()}")


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000, help="evaluations")
    count = parser.parse_args().n
    print("| evaluations | memory (MiB) | open files | threads | child processes |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            evaluate(number, Path(folder))
            if (number + 1) % max(1, count // ROWS) == 0:
                gc.collect()
                print(row(number + 1), flush=True)


if __name__ == "__main__":
    run()
