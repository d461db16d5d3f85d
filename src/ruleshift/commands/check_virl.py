"""`ruleshift data check-virl`: is a download of the paper's V-IRL data complete and sound?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from ruleshift.bounds import at_least
from ruleshift.commands.checks import printable
from ruleshift.errors import RuleshiftError


@dataclass(frozen=True)
class CheckVirl:
    """Count what a folder of the paper's V-IRL data holds (routes, panoramas, metadata), and name everything that is
    missing or broken, with a remedy. Ends with status 2 if anything is. Partial downloads are welcome.

    Example: ruleshift data check-virl SFTvsRL_Data/VIRL_routes
    """

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Folder that the data lie in, or one above it."""
    show: int = 50
    """Most problems to print."""

    stopped: ClassVar[str] = "nothing was changed"

    def run(self) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from ruleshift.tasks.virl.inspection import check_folder

        at_least("--show", self.show, 0)
        report = check_folder(self.folder)
        table = Table(title=Text(printable(str(self.folder))), box=box.SIMPLE_HEAD)
        table.add_column("what")
        table.add_column("count", justify="right")
        for what, count in report.counts.items():
            table.add_row(what, f"{count:,}")
        table.add_row("problems", f"{len(report.faults):,}")
        Console().print(table)
        for line in (*report.notes, *report.faults[: self.show]):
            print(printable(line))
        if len(report.faults) > self.show:
            print(f"... and {len(report.faults) - self.show:,} more (--show {len(report.faults)} prints them all)")
        if not report.ok:
            count = len(report.faults)
            raise RuleshiftError(f"{self.folder} has {count:,} problem{'s'[: count > 1]}: do as the lines above say")
