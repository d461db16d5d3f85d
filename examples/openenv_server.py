"""A task behind an OpenEnv server, and a client that answers it."""

import threading
import time

import uvicorn
from openenv.core.generic_client import GenericEnvClient

from ruleshift.integrations.openenv import served
from ruleshift.integrations.places import ProblemRef

place = ProblemRef("gp-l", "rule-ood", seed=1000)
server = uvicorn.Server(uvicorn.Config(served(place), port=8765, log_level="error"))
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    time.sleep(0.1)

with GenericEnvClient(base_url="http://127.0.0.1:8765").sync() as env:
    result = env.reset(seed=1000)
    print(result.observation["text"])
    for reply in ("I do not know.", place.problem().gold()):
        result = env.step({"reply": reply})
        print(result.reward, result.done, result.observation["text"])
server.should_exit = True
