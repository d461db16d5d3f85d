"""What README shows is what a recorded run measured."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def check(root: Path) -> int:
    script = root / "scripts" / "update_readme.py"
    return subprocess.run([sys.executable, str(script), "--check"], check=False).returncode


def test_the_headline_table_is_that_of_the_recorded_results(tmp_path: Path) -> None:
    assert check(ROOT) == 0
    copy = tmp_path / "copy"
    for name in ("README.md", "scripts/update_readme.py", "docs/results"):
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    assert check(copy) == 0
    readme = (copy / "README.md").read_text()
    (copy / "README.md").write_text(readme.replace("| base |", "| base | 99.9 |"))
    assert check(copy) == 1


def test_the_files_that_readme_links_to_exist() -> None:
    text = (ROOT / "README.md").read_text()
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    local = [link for link in links if not link.startswith("http")]
    assert len(local) >= 5
    assert [link for link in local if not (ROOT / link).exists()] == []
