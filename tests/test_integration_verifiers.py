"""verifiers: the taskset, and its environment against a local server, give the verdicts of our own loop."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verifiers.v1", reason="verifiers is not installed")

from chat_server import serving, text_of
from integration_helpers import PLACES, episode, replies, run_example
from ruleshift.integrations.exports import verifiers_rows
from ruleshift.integrations.places import ProblemRef, facts
from ruleshift.integrations.verifiers import RevisionConfig, RevisionData, RevisionTaskset

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library, and of what it imports


def test_the_taskset_yields_the_problems_of_a_split() -> None:
    config = RevisionConfig(id="ruleshift-verifiers", problem="virl-l", split="id", seed=5, style="terse")
    tasks = list(RevisionTaskset(config).take(3))
    assert [task.data.id for task in tasks] == ["virl-l/id/5/0", "virl-l/id/5/1", "virl-l/id/5/2"]
    assert tasks[1].data.prompt_text == ProblemRef("virl-l", "id", 5, 1, "terse").problem().context()[0].content
    assert tasks[1].key == "virl-l/id/5/1"


def test_exported_lines_are_its_task_data() -> None:
    for row in verifiers_rows(ProblemRef("gp-vl", style="terse"), 2):
        data = RevisionData.model_validate(json.loads(json.dumps(row)))
        assert ProblemRef.of(data.place).problem().id == data.id


@pytest.mark.slow
@pytest.mark.parametrize(("place", "pattern"), [PLACES[0], PLACES[3], PLACES[6]])
def test_verdicts_are_those_of_our_own_loop(place: ProblemRef, pattern: str, tmp_path: Path) -> None:
    place = place.at(0)
    talk = episode(place, pattern)
    asked = []

    def answer(messages: list[dict]) -> str:
        asked.append(messages)
        return replies(talk)[sum(message["role"] == "assistant" for message in messages)]

    which = {"problem": place.task, "split": place.split, "seed": place.seed, "style": place.style}
    options = [part for name, value in which.items() for part in (f"--env.taskset.{name}", str(value))]
    with serving(answer) as url:
        subprocess.run(
            [
                Path(sys.executable).with_name("vf-eval"),
                "ruleshift-verifiers",
                *options,
                "--select.limit",
                "1",
                "--no-push",
                "--model",
                "stand-in",
                "--client.base-url",
                url,
                "--client.api-key-var",
                "API_KEY",
            ],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            env={**os.environ, "API_KEY": "none"},
        )
    (path,) = tmp_path.glob("outputs/*/traces.jsonl")
    (trace,) = json.loads(path.read_text())["traces"]
    assert trace["info"]["verdicts"] == [facts(turn.verdict) for turn in talk.turns]
    assert trace["rewards"]["verifier"]["score"] == talk.total_reward
    assert trace["metrics"]["solved"] == talk.solved
    assert [text_of(message) for message in asked[-1]] == [message.content for message in talk.messages[:-2]]
    shown = sum(part["type"] == "image_url" for part in asked[-1][0]["content"]) if place.task == "gp-vl" else 0
    assert shown == len(talk.pictures)


@pytest.mark.slow
def test_the_example() -> None:
    with serving(lambda messages: "I do not know.") as url:
        told = run_example("verifiers_eval.py", url, "stand-in")
    assert "gp-l/rule-ood/0/0 -10.0 unreadable unreadable unreadable" in told
