"""An evaluation of ruleshift as a log: python inspect_logs.py runs/base logs, then inspect view --log-dir logs"""

import sys
from pathlib import Path

from inspect_ai.log import read_eval_log

from ruleshift.integrations.inspect_ai import write_log

source, folder = map(Path, sys.argv[1:3])  # what `ruleshift eval gp-l --out runs/base` wrote, and where logs are kept
log = read_eval_log(str(write_log(source, folder)))
print(log.eval.task, "of", log.eval.model, "with", len(log.samples), "conversations")
for name, metric in log.results.scores[0].metrics.items():
    print(f"{name}: {metric.value:.3f}")
