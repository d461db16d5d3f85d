"""What the results say of their arms: which is the start model, which are variants of which, which diverged.

A study writes this into `meta`. Results without it (of an evaluation, say) show their arms in the order of their rows;
the start is the arm that was never trained, and an arm whose name goes on after that of another is its variant.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ruleshift.report.points import splits_in
from ruleshift.results import CEILING, FLOORS, Results, Row
from ruleshift.tasks import TASKS, get_task


@dataclass(frozen=True)
class ArmNote:
    """An arm in the words of its study: what it is, and the arm whose variant it is, if any."""

    name: str
    about: str = ""
    variant_of: str | None = None


@dataclass(frozen=True)
class Legend:
    """The arms of some results, in the order in which they are shown. `start` is "" where nothing was trained from.

    `diverged` holds the seeds of arms whose training diverged.
    """

    start: str
    notes: tuple[ArmNote, ...]
    diverged: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [note.name for note in self.notes]

    def arms_in(self, rows: Iterable[Row]) -> list[str]:
        """The arms of these rows."""
        there = {row.arm for row in rows}
        return [name for name in self.names if name in there]

    def family(self, arm: str) -> str:
        """The arm of which this one is a variant, or itself."""
        return next((note.variant_of or arm for note in self.notes if note.name == arm), arm)

    def families(self) -> list[str]:
        """The arms that are no variants, and those whose variants there are, in order."""
        return list(dict.fromkeys(map(self.family, self.names)))

    def is_variant(self, arm: str) -> bool:
        return self.family(arm) != arm

    def trained(self) -> list[str]:
        """All arms but the start."""
        return [name for name in self.names if name != self.start]


def legend_of(results: Results) -> Legend:
    """The legend of results: what `meta` says, where it says it, of all arms that have rows."""
    notes = _told(results.meta.get("arms"))
    in_rows = list(dict.fromkeys(row.arm for row in results.rows if row.arm not in (*FLOORS, CEILING)))
    told = {note.name for note in notes}
    untold = [name for name in in_rows if name not in told]
    notes += [ArmNote(name, variant_of=_stem(name, [*told, *in_rows])) for name in untold]
    trained = {row.arm for row in results.rows if row.step > 0}
    start = results.meta.get("start")
    if not isinstance(start, str):
        start = next((name for name in in_rows if name not in trained), "")
    notes.sort(key=lambda note: note.name != start)
    return Legend(start, tuple(notes), _diverged(results.meta.get("diverged")))


def _told(arms: object) -> list[ArmNote]:
    """The entries of `meta["arms"]` that can be read."""
    found: dict[str, ArmNote] = {}
    for entry in arms if isinstance(arms, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            variant_of = entry.get("variant_of")
            of = variant_of if isinstance(variant_of, str) else None
            found.setdefault(entry["name"], ArmNote(entry["name"], str(entry.get("about") or ""), of))
    return list(found.values())


def _stem(name: str, names: Iterable[str]) -> str | None:
    """The longest of the names that this one goes on from after a hyphen."""
    return max((other for other in names if name.startswith(f"{other}-")), key=len, default=None)


def _diverged(entries: object) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("arm"), str) and isinstance(entry.get("seed"), int):
            found[entry["arm"]] = (*found.get(entry["arm"], ()), entry["seed"])
    return found


def references_in(rows: Iterable[Row]) -> dict[str, str]:
    """The floors that these rows hold, and the ceiling, each with what it is."""
    there = {row.arm for row in rows}
    return {name: "ceiling" if name == CEILING else "floor" for name in (*FLOORS, CEILING) if name in there}


def feedback_note(results: Results) -> str:
    """What titles say of the level of feedback: nothing where it is the usual one."""
    level = results.meta.get("feedback", "full")
    return "" if level == "full" else f", feedback {level}"


def shows_pictures(results: Results) -> bool:
    """Whether the task shows pictures, so that recognition is worth a figure."""
    told = results.meta.get("pictures")
    return (
        told
        if isinstance(told, bool)
        else any(row.task in TASKS and get_task(row.task).pictures for row in results.rows)
    )


def origins_in(results: Results) -> dict[str, tuple[str, int]]:
    """Of arms that go on from others: from which, and after which step (as `Plan.origins`): its end where none is
    told."""
    last: dict[str, int] = {}
    for row in results.rows:
        last[row.arm] = max(row.step, last.get(row.arm, 0))
    told = results.meta.get("config", {}).get("starts", {})
    return {arm: (start["arm"], start["step"] or last.get(start["arm"], 0)) for arm, start in told.items()}


def trained_split(results: Results) -> str:
    """The split of the training rule."""
    return str(results.meta.get("trained", "id"))


def usual_ood(results: Results) -> str:
    """The split that stands for out of distribution where none is named: `visual-ood` where there are pictures, else
    `rule-ood`, else the shifted rule of a part (`gp-l-rule-ood` of a mixture), else the first that is not that of the
    training rule, else the only one."""
    splits, trained = splits_in(results.rows), trained_split(results)
    preferred = ["visual-ood", "rule-ood"] if shows_pictures(results) else ["rule-ood"]
    of_parts = [split for split in splits if split.endswith("-rule-ood")]
    wanted = [*preferred, *of_parts, *(split for split in splits if split != trained), *splits]
    return next((split for split in wanted if split in splits), "rule-ood")
