"""ruleshift: does post-training teach a model a rule that transfers, or answers that it memorises?

The names below are loaded when they are first used, so that `import ruleshift` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ruleshift.backbones.load import load_backbone
    from ruleshift.engines.local import LocalEngine
    from ruleshift.engines.protocol import Answerer, Sampling
    from ruleshift.engines.text import TextEngine
    from ruleshift.errors import RuleshiftError
    from ruleshift.records import Completion, Message, Verdict
    from ruleshift.revision import converse, revise
    from ruleshift.tasks import TASKS, get_task

__version__ = "0.1.0"
__all__ = [
    "TASKS",
    "Answerer",
    "Completion",
    "LocalEngine",
    "Message",
    "RuleshiftError",
    "Sampling",
    "TextEngine",
    "Verdict",
    "converse",
    "get_task",
    "load_backbone",
    "revise",
]

_HOMES = {
    "TASKS": "ruleshift.tasks",
    "Answerer": "ruleshift.engines.protocol",
    "Completion": "ruleshift.records",
    "LocalEngine": "ruleshift.engines.local",
    "Message": "ruleshift.records",
    "RuleshiftError": "ruleshift.errors",
    "Sampling": "ruleshift.engines.protocol",
    "TextEngine": "ruleshift.engines.text",
    "Verdict": "ruleshift.records",
    "converse": "ruleshift.revision",
    "get_task": "ruleshift.tasks",
    "load_backbone": "ruleshift.backbones.load",
    "revise": "ruleshift.revision",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ruleshift' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
