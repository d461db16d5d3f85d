"""Speed of card pictures on one core.

    python benchmarks/pictures.py

One row per split and size. "First" draws the first pictures of a process, in which cards, shadows, tables and lamps are
drawn once and kept; "later" is the median over repetitions after that, each of other pictures, and "look" the time to
draw the factors of one. Deals are made beforehand. Times are processor times of one thread.
"""

import argparse
import statistics
import time

from ruleshift.tasks.generalpoints.deal import deal
from ruleshift.tasks.generalpoints.pictures import draw, look
from ruleshift.tasks.generalpoints.pictures.drawing import KEPT
from timing import print_json, print_table

COLUMNS = ("split, size", "first /s", "later /s", "look us", "kept MiB")
CASES = (("id", 224), ("visual-ood", 224), ("style-ood", 224), ("pretrain", 224), ("id", 96), ("id", 448), ("id", 1200))


def rate(split: str, size: int, first: int, pictures: int) -> float:
    """Pictures per second over a stretch of a split, their looks included."""
    hands = [deal(split, 0, index).cards for index in range(first, first + pictures)]
    began = time.process_time()
    for index, cards in enumerate(hands, first):
        draw(cards, look(split, 0, index), size)
    return pictures / (time.process_time() - began)


def look_seconds(split: str, pictures: int) -> float:
    began = time.process_time()
    for index in range(pictures):
        look(split, 0, index)
    return (time.process_time() - began) / pictures


def measured(split: str, size: int, pictures: int, repeats: int) -> list[object]:
    """A row. Pictures larger than 224 pixels are drawn in smaller numbers."""
    KEPT.clear()
    pictures = max(1, min(pictures, pictures * 224**2 // size**2))
    first = rate(split, size, 0, pictures)
    later = [rate(split, size, repeat * pictures, pictures) for repeat in range(1, repeats + 1)]
    look_us = 1e6 * look_seconds(split, pictures)
    return [f"{split}, {size} px", first, statistics.median(later), look_us, KEPT.held / 2**20]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000, help="pictures a repetition (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions (default: %(default)s)")
    arguments = parser.parse_args()
    rows = [measured(split, size, arguments.pictures, arguments.repeats) for split, size in CASES]
    print_table("Pictures of four cards", COLUMNS, rows)
    print_json("pictures", vars(arguments), {"columns": COLUMNS, "rows": rows})


if __name__ == "__main__":
    main()
