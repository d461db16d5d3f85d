"""The problems of a shifted rule as a dataset of reasoning-gym."""

import reasoning_gym

import ruleshift.integrations.reasoning_gym as registered

assert "ruleshift" in reasoning_gym.factory.DATASETS, registered
problems = reasoning_gym.create_dataset("ruleshift", task="virl-l", split="rule-ood", seed=1000, size=3)
for entry in problems:
    print(entry["question"].splitlines()[3], "...")
    expert, nonsense = (problems.score_answer(answer, entry) for answer in (entry["answer"], "I do not know."))
    print(f"expert {expert}, nonsense {nonsense}")
