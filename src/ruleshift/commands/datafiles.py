"""The files of `ruleshift data`. Rows of tasks in pictures hold a list of Picture records in `images`."""

import io
import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruleshift.files import write_atomically, written_atomically

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 50  # that are held in memory with their pictures


def pictures_beside(path: Path) -> Path:
    """The folder for the pictures of a jsonl file."""
    return path.with_name(f"{path.stem}-pictures")


def picture_name(problem: str, number: int) -> str:
    """The file name of a problem's picture, counted from 1 in the order in which they are shown."""
    return f"{problem.replace('/', '-')}-{number}.png"


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]], pictured: bool) -> None:
    """A JSON object a line. Pictures go into files of their own, whose names relative to the folder of `path` take
    their place; the file itself is written last, when all that it names is there."""
    if pictured:
        rows = _with_files(rows, path)
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _with_files(rows: Iterable[dict[str, Any]], path: Path) -> Iterator[dict[str, Any]]:
    from ruleshift.commands.checks import make_folder
    from ruleshift.pictures import png

    folder = pictures_beside(path)
    make_folder("--out", folder)
    for row in rows:
        names = []
        for number, picture in enumerate(row["images"], 1):
            names.append(f"{folder.name}/{picture_name(row['id'], number)}")
            write_atomically(path.parent / names[-1], png(picture))
        yield {**row, "images": names}


def write_parquet(path: Path, rows: Iterable[dict[str, Any]], schema: "pa.Schema | None") -> None:
    """A table; with a schema, whose `images` are the Image feature of Hugging Face's datasets, PNG files in bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if schema is None:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
        write_atomically(path, buffer.getvalue())
        return
    rows = _with_bytes(rows)
    with written_atomically(path) as temporary:
        with pq.ParquetWriter(temporary, schema) as writer:
            while some := list(islice(rows, ROWS_AT_ONCE)):
                writer.write_table(pa.Table.from_pylist(some, schema=schema))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())


def _with_bytes(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    from ruleshift.pictures import png

    for row in rows:
        yield {**row, "images": [{"bytes": png(picture), "path": None} for picture in row["images"]]}


def pictured_schema() -> "pa.Schema":
    """The columns of `data_rows`, with the note by which Hugging Face's datasets knows pictures."""
    from datasets import Features, Image, List, Value

    text = Value("string")
    message = {"role": text, "content": List({"type": text, "text": text})}
    columns = {"id": text, "split": text, "messages": List(message), "images": List(Image()), "facts": text}
    return Features(columns).arrow_schema
