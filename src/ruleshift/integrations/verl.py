"""verl: rows of data, and a reward function for single replies; `verl_loop` has the agent loop for many turns.

`ruleshift data TASK --for verl` writes `rows`. For many turns, `actor_rollout_ref.rollout.agent.agent_loop_config_path`
names a file with `- name: ruleshift` and `_target_: ruleshift.integrations.verl_loop.RevisionLoop`; for single replies
`reward.custom_reward_function.path` names this file and `name` is `compute_score`. verl credits a conversation with one
number, the sum of its rewards, on its last token; the rewards of its turns are in `turn_scores`.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ruleshift.integrations.places import ProblemRef, say

if TYPE_CHECKING:
    from datasets import Features

AGENT = "ruleshift"


def rows(place: ProblemRef, n: int) -> Iterator[dict[str, Any]]:
    """The first `n` problems of a split in the columns of verl: `images` (Picture records) stand for `<image>` in the
    prompt, and `extra_info` holds where the problem is found."""
    task = place.open_task()
    for index in range(place.count(n)):
        here = place.at(index)
        problem = here.problem()
        messages = problem.context()
        seen = {"images": [picture for message in messages for picture in message.pictures]} if task.pictures else {}
        yield {
            "data_source": f"ruleshift/{task.id}",
            "agent_name": AGENT,
            "prompt": [
                {"role": message.role, "content": "<image>" * len(message.pictures) + message.content}
                for message in messages
            ],
            **seen,
            "ability": task.id,
            "reward_model": {"style": "rule", "ground_truth": problem.gold()},
            "extra_info": here.row(),
        }


def features(place: ProblemRef) -> "Features":
    """The columns of `rows` for a task in pictures."""
    from datasets import Features, Image, List, Value

    text = Value("string")
    found = {name: Value("int64" if isinstance(value, int) else "string") for name, value in place.row().items()}
    return Features(
        {
            "data_source": text,
            "agent_name": text,
            "prompt": List({"role": text, "content": text}),
            "images": List(Image()),
            "ability": text,
            "reward_model": {"style": text, "ground_truth": text},
            "extra_info": found,  # holds `index`, too
        }
    )


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Mapping[str, Any], **others: Any
) -> dict[str, Any]:
    """The verdict on a first reply, as verl's reward functions give it."""
    verdict = say(ProblemRef.of(extra_info).conversation(), solution_str)
    return {"score": verdict.reward, "solved": float(verdict.solved), "valid": float(verdict.valid)}
