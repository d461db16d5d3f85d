"""Sequential revision as a Gymnasium environment: four hands at once, answered at random."""

import gymnasium

import ruleshift.integrations.gymnasium
from ruleshift import get_task

gymnasium.register_envs(ruleshift.integrations.gymnasium)

env = gymnasium.make_vec("ruleshift/GeneralPoints-v1", num_envs=4, rule="shifted", turns=5)
observations, info = env.reset(seed=1000)
print(observations[0])

problems = [get_task("gp-l").problem("rule-ood", 1000 + number, 0) for number in range(4)]  # the same, to guess from
total = 0.0
for turn in range(5):
    replies = [problem.guess(turn) for problem in problems]
    observations, rewards, terminated, truncated, info = env.step(replies)
    total += rewards.sum()
    print(turn, list(info["outcome"]), rewards)
print("solved:", terminated, "budget spent:", truncated, "total reward:", total)
env.close()
