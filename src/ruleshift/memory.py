"""How much memory there is here, and that no more is asked for."""

import os
import sys
from contextlib import suppress
from pathlib import Path

LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of the control group, of version 2 or 1
GPUS = ("/dev/nvidiactl", "/dev/kfd")


def memory_here(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that this machine has, or that its control group may use."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in LIMITS:
        with suppress(OSError, ValueError):  # "max", or no such group
            limits.append(int((groups / name).read_text()))
    return min(limits)


def bound_memory() -> None:
    """Have allocations of this process, and of those that it starts, fail where memory and swap end.

    Linux promises more than there is, and kills without a word what then uses it; of an allocation that fails it can be
    said what takes less (`backbones.room`). A lower limit that is set already stays. Machines with a GPU, whose drivers
    ask for address space that they never use, and other systems are left as they are.
    """
    if sys.platform != "linux" or any(Path(device).exists() for device in GPUS):
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    room = memory_here() + _swap()
    if not any(limit != resource.RLIM_INFINITY and limit <= room for limit in (soft, hard)):
        resource.setrlimit(resource.RLIMIT_DATA, (room, hard))


def _swap(info: Path = Path("/proc/meminfo")) -> int:
    """Bytes of swap."""
    for line in info.read_text().splitlines():
        if line.startswith("SwapTotal:"):
            return int(line.split()[1]) * 1024
    return 0
