"""What docs/integrations.md shows is what the tests of the integrations run, word for word."""

import re
from pathlib import Path

import pytest

from ruleshift.integrations.exports import EXPORTS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "integrations.md").read_text()
EXAMPLES = {path.read_text().strip(): path.name for path in sorted((ROOT / "examples").glob("*.py"))}


def test_every_snippet_is_an_example_that_is_run() -> None:
    snippets = re.findall(r"```python\n(.*?)\n```", PAGE, re.DOTALL)
    assert len(snippets) >= 8
    assert [snippet for snippet in snippets if snippet not in EXAMPLES] == []


@pytest.mark.parametrize("name", sorted(EXAMPLES.values()))
def test_every_example_is_short_shown_and_run(name: str) -> None:
    assert len((ROOT / "examples" / name).read_text().splitlines()) <= 40
    assert name in PAGE or any(f"```python\n{text}\n```" in PAGE for text, named in EXAMPLES.items() if named == name)
    assert any(name in path.read_text() for path in (ROOT / "tests").glob("test_integration_*.py"))


def test_every_extra_and_export_is_named() -> None:
    extras = (ROOT / "pyproject.toml").read_text()
    for extra in set(re.findall(r"ruleshift\[([\w-]+)\]", PAGE)):
        assert f"\n{extra} = [" in extras
    for tool in EXPORTS:
        assert f"--for {tool}" in PAGE or tool == "verifiers"


def test_every_link_of_the_page_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
