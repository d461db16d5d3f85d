"""How many threads torch may use: as many as there are cores that nothing else is using.

Heavy processes on the same cores slow each other by far more than their number if each has a thread for every core:
threads then wait, busily, for others that are not running. Sums are split among threads, so that the last digits of a
training depend on their number: a run resumes with as many as it began with.
"""

import math
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

LOOK = 0.2  # seconds for which other processes are watched
ENVIRONMENT = "OMP_NUM_THREADS"
MOST = 1024  # more would take all memory for their stacks before any work is done


def wait_passively() -> None:
    """Have threads that wait sleep, unless the environment says otherwise. To be called before torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def set_threads(asked: int | None = None, begun_with: int | None = None) -> None:
    """Give torch its threads, and say on stderr what was chosen for it.

    `asked` (--threads) comes first, then OMP_NUM_THREADS, which torch reads itself, then the number that an earlier
    call of the same run began with, then the cores that are free.
    """
    import torch

    if asked is not None:
        torch.set_num_threads(asked)
    elif ENVIRONMENT not in os.environ:
        cores, busy = usable_cores(), busy_cores()
        chosen = begun_with or free(cores, busy)
        why = "as this run began" if begun_with else f"{busy:.1f} are busy"
        print(f"using {chosen} of {cores} cores ({why}); --threads or {ENVIRONMENT} overrules", file=sys.stderr)
        torch.set_num_threads(chosen)


def free(cores: int, busy: float) -> int:
    """Threads for a process that may use `cores`, of which others keep some busy: at least one."""
    return max(1, cores - round(busy))


def usable_cores() -> int:
    """Cores that this process may run on, by its affinity and by the quota of its control group (Linux)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def busy_cores(seconds: float = LOOK) -> float:
    """How many of the cores that this process may run on others keep busy now, itself left out. Where the kernel does
    not tell (no /proc), the load of the last minute."""
    try:
        before, own = _busy_ticks(), sum(os.times()[:2])
        time.sleep(seconds)
        ticks = _busy_ticks() - before
        return max(0.0, (ticks / os.sysconf("SC_CLK_TCK") - (sum(os.times()[:2]) - own)) / seconds)
    except (OSError, ValueError, IndexError):
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _busy_ticks() -> int:
    """Clock ticks for which our cores have worked since the start of the system."""
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else set()
    return busy_ticks(Path("/proc/stat").read_text().splitlines(), ours)


def busy_ticks(lines: Iterable[str], cores: set[str]) -> int:
    """Of /proc/stat: user, nice, system, irq, softirq and steal of these cores; what waits or idles is not busy."""
    rows = [line.split() for line in lines]
    return sum(int(row[i]) for row in rows if row and row[0] in cores for i in (1, 2, 3, 6, 7, 8))


def _quota() -> float:
    """Cores that the control group may use, of version 2 or 1; infinite where it sets no limit."""
    try:
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        folder = Path("/sys/fs/cgroup/cpu")
        try:
            most = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text()
        except OSError:
            return math.inf
    return int(most) / int(period) if most.isdigit() else math.inf
