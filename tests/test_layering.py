"""The core never imports the edges, tasks need no model library, and nothing runs or unpickles foreign content."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ruleshift

PACKAGE = Path(ruleshift.__file__).parent
CORE = ("records", "errors", "files", "chat", "revision", "tasks", "engines", "backbones", "training", "evaluation")
CORE += ("runs", "results", "lock", "metrics", "threads")
EDGES = ("ruleshift.studies", "ruleshift.report", "ruleshift.integrations", "ruleshift.commands", "ruleshift.cli")
FORBIDDEN = {f"ruleshift.{name}": EDGES for name in CORE}
FORBIDDEN["ruleshift.tasks"] = (*EDGES, "ruleshift.engines", "ruleshift.training", "torch", "transformers")
UNSAFE = {"eval", "exec", "torch.load"} | {f"pickle.{name}" for name in ("load", "loads", "Unpickler")}


def sources() -> Iterator[tuple[str, str]]:
    """Every module of the package: dotted name (packages end in `.__init__`) and source."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(("ruleshift", *path.relative_to(PACKAGE).with_suffix("").parts)), path.read_text()


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def imported(module: str, tree: ast.AST) -> dict[str, str]:
    """Everything imported anywhere in a module, inside functions too: dotted name -> the name it has there."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.name: alias.asname or alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            parent = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            names.update({f"{base}.{alias.name}": alias.asname or alias.name for alias in node.names})
    return names


def wrong_imports(module: str, source: str) -> list[str]:
    """The imports by which a module reaches up to a layer it must not know."""
    forbidden = [bad for package, bads in FORBIDDEN.items() if within(module, package) for bad in bads]
    names = imported(module, ast.parse(source))
    return [name for name in names if any(within(name, bad) for bad in forbidden)]


def unsafe_names(module: str, source: str) -> list[str]:
    """Uses of functions that run or unpickle what they are given, called or passed on, under any alias."""
    tree = ast.parse(source)
    aliases = {local: name for name, local in imported(module, tree).items()}
    used = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            local, _, rest = ast.unparse(node).partition(".")
            full = ".".join(filter(None, (aliases.get(local, local), rest)))
            used.append(full.removeprefix("builtins."))
        elif isinstance(node, ast.ImportFrom):
            used += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in used if name in UNSAFE]


def test_there_are_sources_to_check() -> None:
    assert {"ruleshift.records", "ruleshift.tasks.protocol", "ruleshift.runs"} <= {module for module, _ in sources()}


@pytest.mark.parametrize(("module", "source"), [pytest.param(*item, id=item[0]) for item in sources()])
def test_module(module: str, source: str) -> None:
    assert wrong_imports(module, source) == []
    assert unsafe_names(module, source) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ruleshift.records", "import ruleshift.cli"),
        ("ruleshift.runs", "import ruleshift.report.page as page"),
        ("ruleshift.training.ppo", "from ruleshift import studies"),
        ("ruleshift.training.ppo", "from .. import studies"),
        ("ruleshift.training.__init__", "from ..report import page"),
        ("ruleshift.chat", "def late():\n    from ruleshift.integrations.trl import reward"),
        ("ruleshift.tasks.generalpoints.task", "import torch.nn as nn"),
        ("ruleshift.tasks.generalpoints.task", "from transformers import AutoModel"),
        ("ruleshift.tasks.generalpoints.task", "from ...engines import local"),
    ],
)
def test_wrong_imports_are_found(module: str, source: str) -> None:
    assert wrong_imports(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ruleshift.tasks.virl.task", "from ruleshift.records import Message\nimport numpy\nimport torchless"),
        ("ruleshift.training.ppo", "import torch\nfrom ruleshift.engines.local import LocalEngine"),
        ("ruleshift.studies.headline", "from ruleshift.report import page"),
        ("ruleshift.tasks.virl.task", "from . import engines, training"),
    ],
)
def test_right_imports_pass(module: str, source: str) -> None:
    assert wrong_imports(module, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval('1 + 1')",
        "run = exec",
        "import builtins\nbuiltins.eval('1')",
        "import pickle\npickle.load(file)",
        "import pickle as p\nvalue = p.loads(data)",
        "from pickle import load as read\nread(file)",
        "from torch import load",
        "import torch\ntorch.load('model.pt', weights_only=True)",
    ],
)
def test_unsafe_names_are_found(source: str) -> None:
    assert unsafe_names("ruleshift.bad", source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "import json\njson.load(file)",
        "def evaluate(): ...",
        "'eval(1)'",
        "from safetensors.torch import load_file",
    ],
)
def test_safe_names_pass(source: str) -> None:
    assert unsafe_names("ruleshift.good", source) == []
