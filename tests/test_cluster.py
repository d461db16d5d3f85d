"""What is heard of the tasks of a cluster, without Ray: how far runs are, and how they ended."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ruleshift.lock import held
from ruleshift.studies.cluster import Tasks
from ruleshift.studies.home import Home
from ruleshift.studies.pool import Job, News
from ruleshift.studies.store import StoreError
from ruleshift.studies.study import Run, StartModel
from study_helpers import MEASUREMENT, SFT


def tasks(home: Home, job: Job, *ended: News) -> Tasks:
    """One task for each way to end, or one that is at work."""
    found = Tasks.__new__(Tasks)
    found.home, found.steps, found.looked = home, {}, 0.0
    found.under_way = dict.fromkeys(range(len(ended) or 1), job)
    found.ray = SimpleNamespace(
        wait=lambda refs, num_returns, timeout: (refs[:num_returns] if ended else [], []),
        get=lambda ref: ended[ref],
        exceptions=SimpleNamespace(RayTaskError=ZeroDivisionError, RayError=ZeroDivisionError),
    )
    return found


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(Run("sft", 0, SFT, (0, 3)), StartModel("bundled"), MEASUREMENT, tmp_path / "gp-l" / "arms")


def test_a_run_is_heard_of_once_somebody_is_at_work(tmp_path: Path, job: Job) -> None:
    folder = job.root / job.run.folder
    crew = tasks(Home(tmp_path), job)
    assert [*crew.news(0.0)] == []
    with held(folder):
        for lines, expected in (("", [0]), ("", []), ('{"step": 2}\n', [2]), ('{"step": 9}\n', [3])):
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(lines)
            crew.looked = 0.0
            assert [news.done for _, news in crew.news(0.0)] == expected  # 0 begins its clock
    crew.looked = 0.0
    assert [*crew.news(0.0)] == []


class Away(Home):
    def bring(self, folder: Path) -> None:
        raise StoreError("the store is away")

    def step(self, folder: Path) -> Any:
        return None


@pytest.mark.parametrize(
    ("ended", "heard", "says"),
    [
        ("well", "refused", "the store is away"),
        ("diverged", "refused", "the store is away"),
        ("failed", "failed", "why"),
        ("lost", "lost", "why"),
        ("held", "held", "why"),
    ],
)
def test_what_is_not_here_is_not_done(tmp_path: Path, job: Job, ended: Any, heard: str, says: str) -> None:
    ((_, news),) = tasks(Away(tmp_path), job, News(ended=ended, said="why")).news(0.0)
    assert (news.ended, news.said) == (heard, says)
