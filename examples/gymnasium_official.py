"""A loop written for the paper's repository: five judged replies to a hand, a sixth that truncates."""

import gymnasium as gym

import ruleshift.integrations.gymnasium

gym.register_envs(ruleshift.integrations.gymnasium)  # in place of: import gym_cards, gym_virl


def model(question: str, info: dict) -> str:  # ask your own here
    formula = "1+2+3+4=24" if info["Remaining Step"] > 2 else f"{info['Solution'][0]}=24"
    return f'{{"cards": {info["Plain Cards"]}, "number": {info["Numbers"]}, "formula": "{formula}"}}'.replace("'", '"')


env = gym.make("gym_cards/GeneralPoint-oneline-v0", treat_face_cards_as_10=False, ood=True, resolution=300)
obs, info = env.reset(seed=42)
running_reward = 0
while True:
    if info["Verify Info"] is None:
        question = f"Make 24 from {info['Plain Cards']}; J, Q and K count 11, 12 and 13."
    else:
        question += f"\nYou failed this trial because {info['Verify Info']}"
    obs, reward, done, truncated, info = env.step(model(question, info))
    running_reward += reward
    print(reward, info["Verify Info"])
    if done or truncated:
        break
print("solved:", done, "reward:", running_reward, "picture:", obs.shape)
