"""`ruleshift report`: the page of a study or an evaluation, written anew from its numbers."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from ruleshift.bounds import within
from ruleshift.commands.checks import check_file
from ruleshift.errors import RuleshiftError

RESULTS = "results.json"


@dataclass(frozen=True)
class ReportCommand:
    """Write the HTML page about a study or an evaluation again, from its results.json and what lies beside it:
    comparisons.json, and episodes (those that a study kept, or episodes.parquet). One file that opens offline, and its
    numbers as JSON beside it.
    A folder with the results of several tasks gets a page for each.

    Example: ruleshift report runs/headline

    Example: ruleshift report runs/headline/gp-l --png headline.png

    Example: ruleshift report runs/headline/gp-l --serve
    """

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER|RESULTS.JSON")]
    """Folder of a study, or of one of its tasks, or a results file."""
    out: Path | None = None
    """Page to write; by default report.html beside the results."""
    png: Path | None = None
    """Also draw the headline figure to this picture (.png, .svg, .pdf); needs kaleido and Chrome."""
    ood: str | None = None
    """Split that stands for out of distribution; by default visual-ood in pictures, else rule-ood, else the first of
    the results that is not id."""
    decoding: Literal["sampled", "greedy"] = "sampled"
    """Decoding that the picture shows; the page shows both."""

    serve: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show the page in the browser instead, from this machine alone: with all episodes that were kept, however many,
    and those that come while the study runs. Ctrl-C ends it."""
    port: int = 8765
    """Port of --serve."""

    stopped: ClassVar[str] = "run the same command again"

    def run(self) -> None:
        if self.serve:
            self._serve()
            return
        files = _results_in(self.source)
        if len(files) > 1:
            for option, value in (("--out", self.out), ("--png", self.png)):
                if value is not None:
                    names = ", ".join(str(file.parent) for file in files)
                    raise RuleshiftError(
                        f"{option} is for one page, and there are several results: name one of {names}"
                    )
        check_file("--out", self.out)
        check_file("--png", self.png)
        for file in files:
            self._write(file)

    def _write(self, file: Path) -> None:
        from ruleshift.evaluation.comparison import load_comparisons
        from ruleshift.report.arms import usual_ood
        from ruleshift.results import load_results
        from ruleshift.studies.report import write_study_report

        out = self.out or file.parent / "report.html"
        check_file("--out", out)
        results = load_results(file)
        splits = sorted({row.split for row in results.rows})
        ood = usual_ood(results) if self.ood is None else self.ood
        if splits and ood not in splits:
            raise RuleshiftError(f"the results hold nothing of --ood {ood!r}; choose from {', '.join(splits)}")
        known = file.parent / "comparisons.json"
        comparisons = load_comparisons(known) if known.is_file() else []
        write_study_report(out, results, comparisons, ood, file.parent)
        print(f"report: {out}")
        if self.png is not None:
            from ruleshift.report.pictures import headline_picture

            headline_picture(results, self.png, ood, self.decoding)
            print(f"picture: {self.png}")

    def _serve(self) -> None:
        from ruleshift.report.server import serve
        from ruleshift.studies.report import served

        within("--port", self.port, 0, 65_535)
        shown = served(self._served(), self.ood)
        _ = shown.page(), shown.index(known="")  # made before anybody waits for them
        server = serve(shown, self.port)
        print(f"http://127.0.0.1:{server.server_address[1]}/   (Ctrl-C ends it)", flush=True)
        with server, suppress(KeyboardInterrupt):
            server.serve_forever()

    def _served(self) -> Path:
        """The one folder that is shown: of a study, which may still run, or of results. Raises RuleshiftError where
        there is none, or several."""
        from ruleshift.results import load_results

        arms = sorted(self.source.glob("arms")) or sorted(self.source.glob("*/arms"))
        found = arms or _results_in(self.source)
        if len(found) > 1:
            raise RuleshiftError(f"--serve shows one task: name one of {', '.join(str(path.parent) for path in found)}")
        if not arms:
            load_results(found[0])
            if found[0].name != RESULTS:
                raise RuleshiftError(f"--serve shows the folder of a {RESULTS}: leave it out for {self.source}")
        return found[0].parent


def _results_in(source: Path) -> list[Path]:
    """The results file that is named, that of a folder, or those of the folders in it."""
    if not source.is_dir() or (source / RESULTS).exists():
        return [source / RESULTS if source.is_dir() else source]
    return sorted(source.glob(f"*/{RESULTS}")) or [source / RESULTS]
