"""Evaluate any OpenAI-compatible endpoint with verifiers: python verifiers_eval.py http://127.0.0.1:8000/v1 MODEL"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

url, model = sys.argv[1:3]
which = ["--env.taskset.problem", "gp-l", "--env.taskset.split", "rule-ood", "--env.taskset.turns", "3"]
how = [
    "--select.limit",
    "2",
    "--no-push",
    "--model",
    model,
    "--client.base-url",
    url,
    "--client.api-key-var",
    "API_KEY",
]
with tempfile.TemporaryDirectory() as folder:
    program = Path(sys.executable).with_name("vf-eval")
    subprocess.run(
        [str(program), "ruleshift-verifiers", *which, *how],
        cwd=folder,
        check=True,
        env={"API_KEY": "none", **os.environ},
        stdout=subprocess.DEVNULL,
    )
    for path in Path(folder).glob("outputs/*/traces.jsonl"):
        for line in path.read_text().splitlines():
            for trace in json.loads(line)["traces"]:
                outcomes = [verdict["outcome"] for verdict in trace["info"]["verdicts"]]
                print(trace["task"]["key"], trace["rewards"]["verifier"]["score"], *outcomes)
