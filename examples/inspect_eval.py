"""Evaluate a model with Inspect AI; here one that only knows one answer. `inspect view --log-dir logs` shows it."""

import sys

import inspect_ai
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from ruleshift.integrations.inspect_ai import gp_l


def answer(messages, tools, tool_choice, config) -> ModelOutput:
    output = ModelOutput.from_content("mock", '{"cards": [], "number": [], "formula": "(6-3)*(9-1)=24"}')
    output.usage = ModelUsage()  # a model of your own: --model openai/..., hf/..., openai-api/local/...
    return output


folder = sys.argv[1] if len(sys.argv) > 1 else "logs"
log = inspect_ai.eval(
    gp_l(splits="id,rule-ood", n=4, turns=2),
    model=get_model("mockllm/model", custom_outputs=answer),
    log_dir=folder,
    display="none",
)[0]
for name, metric in log.results.scores[0].metrics.items():
    print(f"{name}: {metric.value:.2f}")
