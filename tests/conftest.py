"""Settings of every test: no hub, no surprise threads. Slow tests are marked, and listed at the end of a run."""

import os
from collections import Counter
from collections.abc import Iterator

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
THREADS = max(1, len(os.sched_getaffinity(0)) // WORKERS) if hasattr(os, "sched_getaffinity") else 1
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, THREADS)))  # of commands that tests start, too

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(min(2, THREADS))
if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # of which DeepSpeed would tell on standard output

SLOW = 10.0  # seconds; whatever takes longer is to be marked `slow`


@pytest.fixture
def on_one_thread() -> Iterator[None]:
    """For modules whose tests train tiny models, or compare sums."""
    from helpers import one_thread

    with one_thread():
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests marked `slow`, and those that took long without the mark, each with its seconds."""
    seconds: Counter[str] = Counter()
    marked = set()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid] += report.duration
                if "slow" in report.keywords:
                    marked.add(report.nodeid)
    long = {name for name, taken in seconds.items() if taken > SLOW} - marked
    for title, names in (("slow", marked), (f"over {SLOW:.0f} s without the mark `slow`", long)):
        if names:
            terminalreporter.section(f"{title}: {len(names)} tests, {sum(seconds[n] for n in names):.0f} s")
            for name in sorted(names, key=lambda name: -seconds[name]):
                terminalreporter.write_line(f"{seconds[name]:6.1f} s  {name}")
