"""Modules import what the table of docs/design.md allows, in no circle; nothing runs or unpickles foreign content."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import ruleshift

PACKAGE = Path(ruleshift.__file__).parent
DESIGN = Path(__file__).parent.parent / "docs" / "design.md"
UNSAFE = {"eval", "exec", "torch.load"} | {f"pickle.{name}" for name in ("load", "loads", "Unpickler")}


class Layer(NamedTuple):
    """Where a module or package stands in the table, and what it may import from elsewhere."""

    place: int
    standard_library_only: bool
    refused: tuple[str, ...]


def layers(text: str) -> dict[str, Layer]:
    """The table of modules, as the document has it: by name, from the bottom of the house to its roof."""
    table: dict[str, Layer] = {}
    for line in text.split("| module |")[1].split("\n\n")[0].splitlines()[2:]:
        names, _, allowed = line.strip("|").split("|")
        for name in re.findall(r"`([^`]+)`", names):
            refused = tuple(re.findall(r"no (\w+)", allowed))
            table[name.rstrip("/")] = Layer(len(table), allowed.strip() == "the standard library", refused)
    return table


LAYERS = layers(DESIGN.read_text())


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


def is_wrong(name: str, layer: Layer) -> bool:
    """Whether a module of this layer must not import that name."""
    root, _, rest = name.partition(".")
    if root == "ruleshift":
        inner = rest.partition(".")[0]
        return name != "ruleshift.__version__" and (inner not in LAYERS or LAYERS[inner].place > layer.place)
    return root in layer.refused or (layer.standard_library_only and root not in sys.stdlib_module_names)


def wrong_imports(module: str, source: str) -> list[str]:
    """The imports by which a module reaches up to a layer it must not know."""
    layer = LAYERS[module.split(".")[1]]
    return [name for name in imported(module, ast.parse(source)) if is_wrong(name, layer)]


def circle(modules: Iterable[tuple[str, str]]) -> list[str]:
    """Modules that import each other, in order; none where there is no circle. Imports inside functions, and those
    for type checkers only, count."""
    named = {module.removesuffix(".__init__"): (module, source) for module, source in modules}
    graph = {}
    for name, (module, source) in named.items():
        found = {_home(other, named) for other in imported(module, ast.parse(source))}
        graph[name] = found - {name, None}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _home(name: str, modules: Iterable[str]) -> str | None:
    """The module that an imported name is, or is in."""
    return max((module for module in modules if within(name, module)), key=len, default=None)


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


def test_the_table_names_every_module_and_no_other() -> None:
    assert {module.split(".")[1] for module, _ in sources()} == set(LAYERS)
    assert next(iter(LAYERS)) == "errors"
    assert LAYERS["records"].standard_library_only
    assert LAYERS["tasks"].refused == ("torch", "transformers")
    assert LAYERS["runs"].place < LAYERS["training"].place < LAYERS["studies"].place


def test_every_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = {}
    for module, source in sources():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    assert len(places) > 100
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(sources()) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("from ruleshift.tasks import b", "import ruleshift.tasks.a"),
        ("from ruleshift.tasks.b import name", "def late():\n    from . import a"),
        ("import ruleshift.tasks.b as b", "if TYPE_CHECKING:\n    from ruleshift.tasks.a import Name"),
    ],
)
def test_circles_are_found(first: str, second: str) -> None:
    both = [("ruleshift.tasks.__init__", ""), ("ruleshift.tasks.a", first), ("ruleshift.tasks.b", second)]
    assert set(circle(both)) == {"ruleshift.tasks.a", "ruleshift.tasks.b"}
    assert circle(both[:2]) == []


@pytest.mark.parametrize(("module", "source"), [pytest.param(*item, id=item[0]) for item in sources()])
def test_module(module: str, source: str) -> None:
    assert wrong_imports(module, source) == []
    assert unsafe_names(module, source) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ruleshift.records", "import ruleshift.cli"),
        ("ruleshift.records", "import numpy"),
        ("ruleshift.records", "from ruleshift.settings import RLConfig"),  # to its right
        ("ruleshift.pictures", "from ruleshift.tasks import get_task"),
        ("ruleshift.runs", "import ruleshift.report.page as page"),
        ("ruleshift.backbones.load", "from ruleshift.training.batching import pack"),
        ("ruleshift.engines.local", "from ruleshift.revision import revise"),
        ("ruleshift.training.rl", "from ruleshift import studies"),
        ("ruleshift.training.rl", "from .. import studies"),
        ("ruleshift.training.rl", "from ruleshift import revise"),  # by the front door
        ("ruleshift.training.__init__", "from ..report import page"),
        ("ruleshift.chat", "def late():\n    from ruleshift.integrations.trl import reward"),
        ("ruleshift.report.page", "from ruleshift.studies import headline"),
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
        ("ruleshift.records", "import json\nfrom ruleshift.errors import RuleshiftError"),
        ("ruleshift.tasks.virl.task", "from ruleshift.records import Message\nimport numpy\nimport torchless"),
        ("ruleshift.training.rl", "import torch\nfrom ruleshift.engines.local import LocalEngine"),
        ("ruleshift.revision", "from ruleshift.engines.protocol import Engine"),
        ("ruleshift.studies.headline", "from ruleshift.report import page"),
        ("ruleshift.tasks.virl.task", "from . import engines, training"),
        ("ruleshift.cli", "from ruleshift import __version__"),
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
