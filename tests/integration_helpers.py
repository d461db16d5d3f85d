"""What the tests of all integrations share: replies, and what our own loop says of them."""

import os
import subprocess
import sys
from pathlib import Path

from ruleshift.engines.protocol import Insider, Request
from ruleshift.integrations.places import ProblemRef
from ruleshift.records import Episode
from ruleshift.revision import revise
from ruleshift.tasks.protocol import TaskProblem

EXAMPLES = Path(__file__).parent.parent / "examples"
PLACES = (
    (ProblemRef("gp-l", "train", 3, 0), "ncg"),
    (ProblemRef("gp-l", "rule-ood", 3, 1, "terse"), "cn"),
    (ProblemRef("gp-l", "fake", 3, 2, "full", 2), "nn"),
    (ProblemRef("virl-l", "train", 3, 0), "g"),
    (ProblemRef("virl-l", "rule-ood", 3, 1, "terse"), "gng"),
    (ProblemRef("virl-l", "id", 3, 2, "full", 3), "ggn"),
    (ProblemRef("gp-vl", "visual-ood", 3, 0, "terse"), "cng"),
)


def episode(place: ProblemRef, pattern: str) -> Episode:
    """What our own loop makes of replies: n(onsense), c(hance) and g(old), in turn."""

    def answer(problem: TaskProblem, request: Request) -> str:
        number = len(request.messages) // 2
        kind = pattern[number % len(pattern)]
        return {"n": "I do not know.", "c": problem.guess(number), "g": problem.gold()}[kind]

    turns = place.turns or place.open_task().default_turns
    return revise([place.problem()], Insider(answer), turns)[0]


def replies(talk: Episode) -> list[str]:
    return [turn.completion.text for turn in talk.turns]


def run_example(name: str, *arguments: object, timeout: float = 280, **environment: str) -> str:
    """What an example prints. It has to end well."""
    path = EXAMPLES / name
    assert len(path.read_text().splitlines()) <= 40
    ended = subprocess.run(
        [sys.executable, str(path), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout
