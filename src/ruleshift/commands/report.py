"""`ruleshift report`: the page of a study or an evaluation, written anew from its numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from ruleshift.commands.checks import check_file
from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from ruleshift.records import Episode

SHOWN = 8  # conversations of an arm


@dataclass(frozen=True)
class Report:
    """Write the HTML page about a study or an evaluation again, from its results.json and what lies beside it:
    comparisons.json, and conversations (those of a study's arms, or episodes.parquet). One file that opens offline.

    Example: ruleshift report runs/headline --png headline.png
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR|RESULTS.JSON")]
    """Folder of a study, or a results file."""
    out: Path | None = None
    """Page to write; by default report.html beside the results."""
    png: Path | None = None
    """Also draw the headline figure to this picture (.png, .svg, .pdf); needs kaleido and Chrome."""
    ood: str | None = None
    """Split that stands for out of distribution; by default visual-ood in pictures, else rule-ood, else the first of
    the results that is not id."""
    decoding: Literal["sampled", "greedy"] = "sampled"
    """Decoding that the picture shows; the page shows both."""

    stopped: ClassVar[str] = "run the same command again"

    def run(self) -> None:
        from ruleshift.evaluation.comparison import load_comparisons
        from ruleshift.report.page import write_report
        from ruleshift.report.tables import usual_ood
        from ruleshift.results import load_results

        file = self.source / "results.json" if self.source.is_dir() else self.source
        folder = file.parent
        out = self.out or folder / "report.html"
        check_file("--out", out)
        check_file("--png", self.png)
        results = load_results(file)
        splits = sorted({row.split for row in results.rows})
        ood = usual_ood(results) if self.ood is None else self.ood
        if splits and ood not in splits:
            raise RuleshiftError(f"the results hold nothing of --ood {ood!r}; choose from {', '.join(splits)}")
        known = folder / "comparisons.json"
        comparisons = load_comparisons(known) if known.is_file() else []
        write_report(out, results, comparisons, _conversations(folder), ood)
        print(f"report: {out}")
        if self.png is not None:
            from ruleshift.report.pictures import headline_picture

            headline_picture(results, self.png, ood, self.decoding)
            print(f"picture: {self.png}")


def _conversations(folder: Path) -> "dict[str, list[Episode]]":
    """A few conversations of each arm's end (first seed, no variants), and those of an evaluation."""
    from ruleshift.evaluation.episodes import load_episodes

    files = {name: folder / "arms" / f"{name}-seed0" / "episodes.parquet" for name in ("base", "sft", "rl")}
    if not any(file.is_file() for file in files.values()):
        files = {"base": folder / "episodes.parquet"}
    return {name: load_episodes(file)[:SHOWN] for name, file in files.items() if file.is_file()}
