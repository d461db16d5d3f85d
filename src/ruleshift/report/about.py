"""Where the numbers of a page come from, in words, as far as the results tell."""

from collections.abc import Iterable

from ruleshift.report.points import splits_in
from ruleshift.results import Results
from ruleshift.tasks import TASKS, get_task


def published(results: Results) -> str:
    """What the paper found on the task, where that is known."""
    told = results.meta.get("published")
    if told is None:
        tasks = {row.task for row in results.rows}
        told = next((get_task(task).recipe.published for task in tasks if task in TASKS), "")
    return str(told)


def diverged(results: Results) -> list[str]:
    """A line for each run that diverged."""
    entries = results.meta.get("diverged")
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [f"{entry.get('arm')}, seed {entry.get('seed')}: {entry.get('why')}" for entry in found]


def about_of(results: Results) -> dict[str, str]:
    """Where the numbers come from, in words; empty where `meta` does not say."""
    meta = results.meta
    seeds = meta.get("seeds") or sorted({row.seed for row in results.rows})
    versions = meta.get("versions")
    seconds = meta.get("duration_s")
    about = {
        "command": meta.get("command"),
        "seeds": ", ".join(map(str, seeds)) if isinstance(seeds, list | tuple) else seeds,
        "commit": meta.get("commit"),
        "time": meta.get("time"),
        "duration": f"{seconds / 60:.1f} minutes" if isinstance(seconds, int | float) else None,
        "machine": meta.get("machine"),
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else versions,
    }
    return {name: "" if value is None else str(value) for name, value in about.items()}


def described_splits(results: Results) -> dict[str, str]:
    described = results.meta.get("splits")
    known = described if isinstance(described, dict) else {}
    return {split: str(known[split]) for split in splits_in(results.rows) if split in known}


def spread(numbers: Iterable[int]) -> str:
    values = sorted(set(numbers))
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
