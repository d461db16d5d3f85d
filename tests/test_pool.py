"""Which job comes next, and what becomes of those that end badly: here, on other machines, in any order."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ruleshift.errors import RuleshiftError
from ruleshift.studies.pool import PATIENCE, PAUSE, Agenda, Job, News, carry_out
from ruleshift.studies.study import Origin, Run, StartModel
from study_helpers import MEASUREMENT, SFT

WELL, LOST = News(ended="well"), News(ended="lost", said="NodeDiedError")


def job(name: str, after: Job | None = None) -> Job:
    run = Run(name, 0, SFT, (SFT.steps,), start=after and Origin(after.run, SFT.steps))
    return Job(run, StartModel("x"), MEASUREMENT, Path("gp-l/arms"))


A = job("a")
B = job("b", A)
C = job("c", B)


def named(*jobs: Job) -> list[str]:
    return [one.name for one in jobs]


def test_a_job_waits_for_those_that_it_follows() -> None:
    agenda = Agenda([C, B, A], 0)
    assert agenda.next(0.0) == A
    assert agenda.next(0.0) is None
    agenda.hear(A, WELL, 1.0)
    assert (agenda.next(1.0), agenda.next(1.0)) == (B, None)
    said = agenda.hear(B, News(ended="diverged", said="a loss is nan"), 2.0)
    assert said == "arm gp-l b-seed0 diverged: a loss is nan; the study continues without it"
    assert agenda.next(2.0) == C  # which says itself what it can start from
    agenda.hear(C, WELL, 3.0)
    assert agenda.done
    agenda.conclude()


def test_what_follows_a_failed_job_is_left_out_and_the_others_continue() -> None:
    other = job("other")
    agenda = Agenda([A, other, B, C], 0)
    assert agenda.next(0.0) == A
    assert agenda.hear(A, News(ended="refused", said="it is damaged"), 1.0).endswith("the others continue")
    assert (agenda.next(1.0), agenda.next(1.0)) == (other, None)
    agenda.hear(other, WELL, 2.0)
    assert agenda.done
    with pytest.raises(RuleshiftError, match=r"^arm gp-l a-seed0: it is damaged$"):
        agenda.conclude()


def test_a_lost_job_is_given_again_as_long_as_it_gets_further() -> None:
    agenda = Agenda([A], 1)
    for done in (1, 2, 3, 3):  # a second time no further
        assert agenda.next(0.0) == A
        agenda.hear(A, News(done), 0.0)
        said = agenda.hear(A, LOST, 0.0)
        assert ("goes on from its last checkpoint" in said) == (not agenda.done)
    assert agenda.done
    with pytest.raises(RuleshiftError, match="killed, NodeDiedError"):
        agenda.conclude()


def test_a_folder_that_is_held_is_waited_for_and_not_for_ever() -> None:
    agenda = Agenda([A], 0)
    now, tries = 0.0, 0
    while not agenda.done:
        given = agenda.next(now)
        if given:
            tries += 1
            agenda.hear(given, News(ended="held", said="in use by process 7 on far"), now)
        now += PAUSE / 2
    assert PATIENCE / PAUSE < tries <= PATIENCE / PAUSE + 2
    with pytest.raises(RuleshiftError, match="in use by process 7 on far"):
        agenda.conclude()


class Instant:
    """A crew that ends each job at once, of two at a time."""

    retries = 2

    def __init__(self, ends: dict[str, list[News]]) -> None:
        self.ends, self.given, self.now = ends, [], []  # type: ignore[var-annotated]

    def is_free(self) -> bool:
        return len(self.now) < 2

    def give(self, job: Job) -> None:
        self.given.append(job.name)
        self.now.append(job)

    def news(self, seconds: float) -> Iterator[tuple[Job, News]]:
        under_way, self.now = self.now, []
        for job in under_way:
            ends = self.ends.get(job.name, [])
            yield job, ends.pop(0) if ends else WELL


def carried(jobs: Sequence[Job], ends: dict[str, list[News]]) -> list[str]:
    crew = Instant(ends)
    carry_out(jobs, crew, 2)
    return crew.given


def test_carrying_out(capsys: pytest.CaptureFixture[str]) -> None:
    d = job("d")
    assert carried([C, A, d, B], {d.name: [LOST, LOST]}) == named(A, d, d, B, d, C)
    said = capsys.readouterr().err
    assert said.count("arm gp-l d-seed0 is lost (NodeDiedError)") == 2
    assert "gp-l c-seed0: 3 of 3" in said
    failed = News(ended="failed", said="1/0\nTraceback")
    with pytest.raises(RuntimeError, match=r"arm gp-l a-seed0 \(1 more failed\): 1/0"):
        carried([A, B, C, d, replace(d, further=(3,))], {A.name: [failed], d.name: [LOST] * 3})
