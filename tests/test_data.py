"""`ruleshift data`: what the files hold, and that other libraries read them."""

import errno
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ruleshift.chat import Chat, encode_dialogue
from ruleshift.cli import main
from ruleshift.records import Message
from ruleshift.tasks import get_task

PROBLEMS = ["--split", "rule-ood", "--n", "7", "--seed", "3"]


def read(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", ["data.jsonl", "data.parquet"])
def test_rows_are_the_problems_with_a_right_reply(name: str, tmp_path: Path) -> None:
    assert main(["data", "gp-l", *PROBLEMS, "--out", str(tmp_path / name)]) == 0
    rows = read(tmp_path / name)
    assert [row["id"] for row in rows] == [f"gp-l/rule-ood/3/{index}" for index in range(7)]
    for index, row in enumerate(rows):
        problem = get_task("gp-l").problem("rule-ood", 3, index)
        assert row["split"] == "rule-ood"
        assert json.loads(row["facts"]) == dict(problem.describe())
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        assert row["messages"][0]["content"] == problem.context()[0].content
        verdict = problem.submit(row["messages"][1]["content"], last=True)
        assert verdict.solved
        assert verdict.valid


def test_a_split_that_ends_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data.jsonl"
    assert main(["data", "virl-l", "--split", "mini", "--n", "20", "--out", str(out)]) == 0
    assert [row["id"] for row in read(out)] == [f"virl-l/mini/0/{index}" for index in range(18)]
    assert capsys.readouterr().out == f"18 conversations, all that mini has: {out}\n"
    assert main(["data", "virl-l", "--split", "mini", "--n", "18", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"18 conversations: {out}\n"


def test_both_formats_hold_the_same(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet"):
        main(["data", "gp-l", *PROBLEMS, "--style", "varied", "--out", str(tmp_path / name)])
    assert read(tmp_path / "a.jsonl") == read(tmp_path / "a.parquet")


def test_format_can_be_named(tmp_path: Path) -> None:
    main(["data", "gp-l", "--n", "2", "--format", "parquet", "--out", str(tmp_path / "data")])
    assert len(pq.read_table(tmp_path / "data").to_pylist()) == 2


def test_sft_trains_on_the_same_conversations(tmp_path: Path) -> None:
    from helpers import expert_conversation
    from ruleshift.backbones.tokenizer import build_tokenizer

    main(["data", "gp-l", "--n", "3", "--seed", "5", "--style", "terse", "--out", str(tmp_path / "data.jsonl")])
    chat = Chat(build_tokenizer())
    for index, row in enumerate(read(tmp_path / "data.jsonl")):
        written = encode_dialogue(chat, [Message(**message) for message in row["messages"]])
        assert written == expert_conversation(chat, get_task("gp-l"), "terse", "train", 5, index)


def test_datasets_reads_the_parquet_file(tmp_path: Path) -> None:
    from datasets import Dataset

    main(["data", "gp-l", *PROBLEMS, "--out", str(tmp_path / "data.parquet")])
    table = Dataset(pq.read_table(tmp_path / "data.parquet"))
    assert table.column_names == ["id", "split", "messages", "facts"]
    assert table[0]["messages"][0]["role"] == "user"


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data.jsonl"
    out.write_text("before\n")

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ruleshift.files._write_to_disk", full)
    assert main(["data", "gp-l", "--n", "2", "--out", str(out)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: cannot write")
    assert out.read_text() == "before\n"
    assert list(tmp_path.iterdir()) == [out]
