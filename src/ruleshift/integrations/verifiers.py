"""verifiers (v1) and prime-rl: any task as a Taskset, and the environment in which the verifier answers its replies.

`vf-eval ruleshift-verifiers --env.taskset.problem gp-l --env.taskset.split rule-ood`. verifiers finds plugins by the
name of a top-level module, which is `ruleshift_verifiers`; prime-rl takes the same id.
"""

import itertools
from collections.abc import Iterable
from typing import Any

from ruleshift.integrations.places import ProblemRef, facts, needs, openai_messages, options_text, say
from ruleshift.tasks.protocol import Style, check_split

needs("verifiers.v1", "verifiers")
import verifiers.v1 as vf  # noqa: E402
from pydantic import Field  # noqa: E402

__all__ = ["RevisionEnv", "RevisionTaskset"]


class RevisionConfig(vf.TasksetConfig):
    """Which problems: `--env.taskset.*`."""

    problem: str = "gp-l"
    """Task of ruleshift: gp-l, gp-vl, virl-l, virl-vl, or package.module:Class."""
    split: str = "train"
    """Split that the problems come from."""
    seed: int = 0
    """Seed of the problems."""
    style: Style = "full"
    """Wording of the prompts."""
    turns: int = 0
    """Verification budget of each step; 0 is the task's own."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the task."""


class RevisionData(vf.TaskData):
    """A problem, by the place where it is found."""

    place: dict[str, Any]


class RevisionTask(vf.Task[RevisionData, vf.State, vf.TaskConfig]):
    """One problem. What replies earn is recorded by `RevisionEnv`."""

    @property
    def key(self) -> str:
        return str(self.data.id)


class RevisionTaskset(vf.Taskset[RevisionTask, RevisionConfig]):
    """The problems of a split: without an end, or as many as it has."""

    INFINITE = True

    def load(self) -> Iterable[RevisionTask]:
        config = self.config
        options = options_text(config.options)
        place = ProblemRef(config.problem, config.split, config.seed, 0, config.style, config.turns, options)
        task = place.open_task()
        check_split(task, config.split)
        count = task.count(config.split)
        for index in itertools.count() if count is None else range(count):
            here = place.at(index)
            problem = here.problem()
            prompt = openai_messages(list(problem.context()))
            yield RevisionTask(
                RevisionData(id=problem.id, name=problem.id, prompt=prompt, place=here.row()), config.task
            )


class RevisionEnvConfig(vf.EnvConfig):
    """The one seat: `--env.policy.*`."""

    policy: vf.AgentConfig = vf.AgentConfig(harness={"id": "null"}, runtime={"type": "subprocess"})


class RevisionEnv(vf.Env[RevisionEnvConfig]):
    """Every reply of the policy goes to the verifier, whose feedback is the next user turn."""

    async def run(self, task: RevisionTask, agents: Any) -> None:
        conversation = ProblemRef.of(task.data.place).conversation()
        conversation.request()
        async with agents.policy.interaction(task) as interaction:
            segment = await interaction.turn()
            while not segment.terminated:
                say(conversation, segment.last_reply)
                if conversation.ended:
                    break
                segment = await interaction.turn(openai_messages([conversation.messages[-1]]))
        trace = interaction.trace
        turns = conversation.turns
        trace.record_reward("verifier", sum(turn.verdict.reward for turn in turns), 1.0)
        trace.record_metrics(
            {
                "solved": bool(turns) and turns[-1].verdict.solved,
                "replies": len(turns),
                "valid": bool(turns) and turns[0].verdict.valid,
            }
        )
        trace.info["verdicts"] = [facts(turn.verdict) for turn in turns]
