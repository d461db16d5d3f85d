"""`ruleshift foretell`: which early sign foretells the loss under shift, over the runs of many studies."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from ruleshift.commands.checks import check_file
from ruleshift.errors import RuleshiftError


@dataclass(frozen=True)
class Foretell:
    """Over all trainings of the studies in some folders: which measure, taken at the first evaluated step on problems
    of the training rule or of validation alone, foretells how much is lost under the shifted rule at the end? Both
    count from the model that a training began from. R2 of a straight line, the same for whole studies left out of the
    fit, and Spearman's correlation of ranks, over all trainings and among those of one arm of a study: of SFT and PPO
    together anything that tells them apart foretells which one loses. Of many signs some look good by chance: beside
    stands how often the best of all does within arms where none is one. A training that several studies share counts
    once. What was left out is said below. Studies that measure insights have the most signs: `memorisation`, and any
    with --set measurement.insight_problems=25.

    Example: ruleshift foretell runs/memorisation runs/headline
    """

    folders: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FOLDER")]
    """Folders of studies, or that hold some."""
    json: Path | None = None
    """File for the numbers."""

    stopped: ClassVar[str] = "run the same command again"

    def run(self) -> None:
        from rich.console import Console

        from ruleshift.report.terminal import blocks
        from ruleshift.studies.foretell import FEWEST, reasons, signs_of, trainings_in

        check_file("--json", self.json)
        if not self.folders:
            raise RuleshiftError("name the folders of some studies: ruleshift foretell runs/memorisation")
        trainings, left = trainings_in(self.folders)
        if not (trainings or left):
            named = ", ".join(map(str, self.folders))
            raise RuleshiftError(f"there is no training with an early step in {named}: name the folders of studies")
        told = reasons(left, trainings)
        signs = signs_of(trainings)
        if not signs:
            why = f" ({_in_words(told)})" if told else ""
            raise RuleshiftError(
                f"these studies hold no {FEWEST} trainings of a task that can be told by{why}: "
                "name more, or run one with --seeds 3"
            )
        lines = [
            [
                *(s.task, s.name, str(s.runs), f"{s.spearman:+.2f}"),
                *("" if s.within is None else f"{s.within:+.2f}", "" if s.chance is None else f"{s.chance:.2f}"),
                *(f"{s.r2:.2f}", "" if s.q2 is None else f"{s.q2:.2f}"),
            ]
            for s in signs
        ]
        title = "Early signs on the training rule against the loss under the shifted one at the end"
        console = Console()
        for table in blocks(
            title,
            ("task", "sign"),
            ("runs", "Spearman", "in an arm", "by chance", "R2", "left out"),
            lines,
            console.width,
        ):
            console.print(table)
        console.print(f"left out: {_in_words(told)}" if told else "nothing was left out", soft_wrap=True)
        if self.json is not None:
            from ruleshift.files import write_atomically
            from ruleshift.runs import environment

            here = {"command": "ruleshift " + shlex.join(sys.argv[1:]), "commit": environment()["git_commit"]}
            counted = Counter(one.study for one in trainings)
            content = {"version": 2, **here, "counted": counted, "left_out": told, "signs": [*map(asdict, signs)]}
            write_atomically(self.json, json.dumps(content, indent=1) + "\n")


def _in_words(left_out: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{why}: {', '.join(studies)}" for why, studies in left_out.items())
