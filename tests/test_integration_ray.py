"""A study on a real Ray cluster, one machine of which is killed meanwhile: its numbers are those of this process."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ruleshift.cli import main
from ruleshift.errors import RuleshiftError
from ruleshift.lock import holding
from ruleshift.studies.cluster import Cluster, run_on_ray
from ruleshift.studies.home import Home, StoredHome
from ruleshift.studies.progress import last_step, load_record, states_of
from ruleshift.studies.run import run_study
from ruleshift.studies.store import Store
from ruleshift.studies.study import Arm, Study, variant
from study_helpers import in_this_process, plan_of, rows_in, tiny_start

pytest.importorskip("ray", reason="needs Ray: pip install 'ruleshift[ray]'")
psutil = pytest.importorskip("psutil")

UPDATES = 60  # enough that a machine can be killed meanwhile


def _arms(recipe: Any, options: object) -> list[Arm]:
    rl = Arm("rl", variant(Arm("rl", recipe.rl), updates=UPDATES, save_every=2).training)
    return [rl, variant(rl, learning_rate=1e-3)]


STUDY = Study("two", "do two ways of RL differ?", "two arms", "seconds", ("gp-l",), _arms, ())


@pytest.fixture
def machines() -> Iterator[Any]:
    """A cluster of two machines with one CPU each, which notices soon that one is gone."""
    from ray.cluster_utils import Cluster as Machines

    soon = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 4,
        "worker_niceness": 0,
    }
    small = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Machines(initialize_head=True, head_node_args={**small, "_system_config": soon})
    cluster.add_node(**{**small, "include_dashboard": None})
    yield cluster
    cluster.shutdown()


AtWork = Callable[[], Iterable[tuple[str, int]]]  # names and processes of runs in the middle of their training


def _kill_a_machine_at_work(machines: Any, at_work: AtWork, killed: list[str]) -> None:
    """The machine that is no head, once it is in the middle of a training."""
    (machine,) = machines.worker_nodes
    raylet = machine.all_processes["raylet"][0].process.pid
    while not killed:
        for name, pid in at_work():
            if psutil.pid_exists(pid) and psutil.Process(pid).ppid() == raylet:
                killed.append(name)
                machines.remove_node(machine, allow_graceful=False)
                return
        time.sleep(0.02)


def _at_work_in(arms: Path) -> Iterator[tuple[str, int]]:
    for run in arms.glob("rl*"):
        held = holding(run)
        if held and last_step(run) > 2:
            yield run.name, held.owner.pid


def _at_work_apart(home: StoredHome) -> Iterator[tuple[str, int]]:
    for name in ("rl-seed0", "rl-lr1e-3-seed0"):
        snapshot = home.store.snapshot(f"gp-l/arms/{name}")
        if snapshot and not snapshot.ended and home.step(home.out / "gp-l" / "arms" / name) > 2:
            yield name, snapshot.owner.pid


def test_a_machine_killed_in_mid_study_changes_no_number(
    machines: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(STUDY, tiny_start(tmp_path))
    killed: list[str] = []
    watch = (machines, lambda: _at_work_in(tmp_path / "ray" / "gp-l" / "arms"), killed)
    killer = threading.Thread(target=_kill_a_machine_at_work, args=watch, daemon=True)
    killer.start()
    run_study([plan], tmp_path / "ray", cluster=Cluster(machines.address))
    killer.join(1)
    said = capsys.readouterr().err
    assert len(killed) == 1
    assert f"arm gp-l {killed[0]} is lost" in said
    monkeypatch.setattr("ruleshift.studies.run.run_jobs", in_this_process)
    run_study([plan], tmp_path / "here")
    assert rows_in(tmp_path / "ray") == rows_in(tmp_path / "here")
    for run in ("rl-seed0", "rl-lr1e-3-seed0"):
        one, other = (tmp_path / place / "gp-l" / "arms" / run / "metrics.jsonl" for place in ("ray", "here"))
        assert one.read_bytes() == other.read_bytes()  # no step is lost, or made twice
    record = load_record(tmp_path / "ray")
    assert {state.standing for state in states_of(record, tmp_path / "ray")} == {"done"}
    assert record.took is not None
    assert record.took.work > 0


def test_machines_without_a_shared_folder_have_a_store(
    machines: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_start(tmp_path)
    plan, out, url = plan_of(STUDY, "tiny"), Path("ray"), f"file://{tmp_path}/store"
    killed: list[str] = []
    home = StoredHome(out, url, store=Store(url))
    watch = (machines, lambda: _at_work_apart(home), killed)
    threading.Thread(target=_kill_a_machine_at_work, args=watch, daemon=True).start()
    run_study([plan], out, cluster=Cluster(machines.address, store=url, snapshots=0.2))
    assert f"arm gp-l {killed[0]} is lost" in capsys.readouterr().err
    monkeypatch.setattr("ruleshift.studies.run.run_jobs", in_this_process)
    run_study([plan], Path("here"))
    assert rows_in(out) == rows_in(Path("here"))
    for run in ("rl-seed0", "rl-lr1e-3-seed0"):
        one, other = (place / "gp-l" / "arms" / run / "metrics.jsonl" for place in (out, Path("here")))
        assert one.read_bytes() == other.read_bytes()
    assert {state.standing for state in states_of(load_record(out), out)} == {"done"}
    main(["study", "status", url])
    assert "finished" in capsys.readouterr().out
    assert json.loads((tmp_path / "store" / "gp-l" / "results.json").read_text())["rows"] == rows_in(out)
    # On a machine that has nothing of it, the command goes on from what the store has.
    run_study([plan], Path("elsewhere"), cluster=Cluster(machines.address, store=url))
    assert "3 runs, 3 of them done" in capsys.readouterr().out
    assert rows_in(Path("elsewhere")) == rows_in(out)


def test_without_a_cluster_the_error_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # none of this machine's own
    with pytest.raises(RuleshiftError, match=r"no Ray cluster to use on this machine .*ray start --head"):
        run_on_ray([object()], Cluster(), Home(tmp_path))  # type: ignore[list-item]
