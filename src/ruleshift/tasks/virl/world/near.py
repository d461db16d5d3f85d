"""Which lines pass near a point."""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from ruleshift.tasks.virl.world.graph import XY
from ruleshift.tasks.virl.world.lines import between


class Near:
    """Lines by the squares around them; `reach` in metres is how near is near."""

    def __init__(self, reach: float) -> None:
        self.reach = reach
        self._cells: dict[tuple[int, int], dict[int, None]] = defaultdict(dict)

    def add(self, number: int, line: Sequence[XY]) -> None:
        """Every point within reach of the line is in a square next to that of one of its points, `reach` apart."""
        for a, b in pairwise(line):
            steps = math.ceil(math.dist(a, b) / self.reach) or 1
            for step in range(steps + 1):
                x, y = self._cell(between(a, b, step / steps))
                for cell in ((x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                    self._cells[cell][number] = None

    def of(self, at: XY) -> list[int]:
        """The numbers of all lines within reach of a point, in the order in which they were added, and some more."""
        return list(self._cells.get(self._cell(at), ()))

    def _cell(self, at: XY) -> tuple[int, int]:
        return math.floor(at[0] / (2 * self.reach)), math.floor(at[1] / (2 * self.reach))
