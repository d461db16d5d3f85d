"""Where the runs of a study are made, beside this machine."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from ruleshift.bounds import above_zero, at_least
from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from ruleshift.studies.cluster import Cluster


@dataclass(frozen=True)
class Machines:
    """A Ray cluster, and what each run takes of it."""

    ray: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[HOST:PORT]")] = None
    """Make the runs on a Ray cluster: the one at this address, or that of this machine."""
    run_cpus: float = 1.0
    """CPUs of the cluster that each run takes; as many threads, at least one."""
    run_gpus: float = 0.0
    """GPUs, or the share of one, that each run takes; without any it stays on CPUs."""
    store: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None
    """Object store (s3://..., as fsspec reads it) where the machines of a cluster share no folder."""

    def cluster(self, workers: int | None) -> "Cluster | None":
        """The cluster that is asked for; None for this machine alone. Raises RuleshiftError for what does not fit."""
        if self.ray is None:
            if (self.run_cpus, self.run_gpus, self.store) != (1.0, 0.0, None):
                raise RuleshiftError(
                    "--run-cpus, --run-gpus and --store are for a cluster: give --ray, or leave them out"
                )
            return None
        if workers is not None:
            raise RuleshiftError("--workers is for this machine: with --ray leave it out, the cluster has its own room")
        if len(self.ray) > 1:
            raise RuleshiftError(f"--ray {' '.join(self.ray)}: give one address, and the name of the study before it")
        if self.store is not None and re.search(r"//[^/]*:[^/]*@|[?]", self.store):
            raise RuleshiftError("--store goes on record: give credentials by the environment, not in the URL")
        above_zero("--run-cpus", self.run_cpus)
        at_least("--run-gpus", self.run_gpus, 0)

        from ruleshift.studies.cluster import Cluster

        return Cluster(self.ray[0] if self.ray else None, self.run_cpus, self.run_gpus, self.store)


MachineArguments = Annotated[Machines, tyro.conf.arg(name="")]
