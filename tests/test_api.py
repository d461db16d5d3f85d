"""Models behind a server: what is asked, how answers are read, faults, kills, budgets."""

import asyncio
import base64
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from cli_helpers import refusal
from faulty_server import FAULTS, NAME, Script, serving
from ruleshift.cli import main
from ruleshift.engines import refusals
from ruleshift.engines.api import ApiModel, Identity, Server
from ruleshift.engines.patience import asked_wait, backoff
from ruleshift.engines.protocol import NoMoreAnswers, Request, Sampling
from ruleshift.engines.spending import Budget, Event, Ledger, Spending
from ruleshift.engines.wire import Asking, BrokenAnswer, read_answer
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.record import read_record
from ruleshift.pictures import read_picture
from ruleshift.records import Message, Picture, Served
from ruleshift.tasks import get_task

N = 12
KEY = "sk-very-secret"


def solver(n: int = N, split: str = "id", seed: int = 1000) -> Callable[[dict[str, Any]], str]:
    """Right at a turn that depends on the request's seed, wrong before."""
    problems = [get_task("gp-l").problem(split, seed, index) for index in range(n)]
    by_prompt = {problem.context()[0].content: problem for problem in problems}

    def reply(body: dict[str, Any]) -> str:
        problem = by_prompt[body["messages"][0]["content"]]
        return problem.gold() if body["seed"] % 5 == 0 else problem.guess(body["seed"])

    return reply


def command(url: str, out: Path, *more: str) -> list[str]:
    asked = ["eval", "gp-l", "--model", f"api:{NAME}", "--base-url", url, "--split", "id", "--n", str(N)]
    return [*asked, "--turns", "4", "--out", str(out), "--concurrency", "6", *more]


def rows(folder: Path) -> list[dict]:
    return json.loads((folder / "results.json").read_text())["rows"]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def replies(folder: Path) -> dict[tuple, tuple]:
    """What was answered, place by place; each place once."""
    rows = lines(folder)
    found = {(row["split"], row["index"], row["sample"], row["turn"]): (row["text"], row["verdict"]) for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation without faults."""
    folder = tmp_path_factory.mktemp("plain")
    script = Script(solver())
    with serving(script) as url:
        assert main(command(url, folder)) == 0
    assert len(script.asked) == len(set(script.asked)) == len(lines(folder))
    return folder


def test_a_run_has_numbers_that_are_not_trivial(plain: Path) -> None:
    values = [row["value"] for row in rows(plain) if row["metric"] == "success" and row["arm"] == "base"]
    assert 0 < values[0] < values[-1] < 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_no_number(fault: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ruleshift.engines.patience.FIRST", 0.02)
    times = 1 if fault in ("huge", "slow") else 3
    script = Script(solver(), fault=lambda number: fault if number % 5 == 2 and number < 5 * times else None)
    with serving(script) as url:
        assert main(command(url, tmp_path, "--timeout", "3" if fault == "slow" else "60")) == 0
    assert script.seen == [fault] * times
    assert replies(tmp_path) == replies(plain)
    assert rows(tmp_path) == rows(plain)
    assert max(Counter(script.asked).values()) > 1
    assert max(Counter(script.given).values()) == 1
    assert sum(row["served"]["attempts"] for row in lines(tmp_path)) == len(script.asked)


def test_the_order_of_answers_changes_no_number(plain: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    with serving(Script(solver(), wait=lambda body: rng.random() / 20)) as url:
        assert main(command(url, tmp_path, "--concurrency", "12")) == 0
    assert [row["index"] for row in lines(tmp_path)] != [row["index"] for row in lines(plain)]
    assert replies(tmp_path) == replies(plain)
    assert rows(tmp_path) == rows(plain)


@pytest.mark.slow
def test_kills_among_faults_lose_nothing_and_ask_nothing_twice(plain: Path, tmp_path: Path) -> None:
    """The evaluation is killed (SIGKILL) again and again, at some request of each life."""
    rng = random.Random(3)
    quick = ("429 at once", "500", "cut", "no json", "no choices", "closed", "another model")
    script = Script(solver(), fault=lambda number: rng.choice(quick) if rng.random() < 0.2 else None)
    with serving(script) as url:
        script.wait = lambda body: 0.05
        arguments = [sys.executable, "-m", "ruleshift", *command(url, tmp_path / "run")]
        kills, code = 0, -signal.SIGKILL
        while code:
            recorded = {(row["split"], row["index"], row["turn"]) for row in kept(tmp_path / "run")}
            before, life = len(script.asked), rng.randint(4, 7)
            process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            if kills < 3:
                script.at = lambda number, p=process, b=before, n=life: number - b == n and p.kill()
            code = process.wait(timeout=120)
            kills += code == -signal.SIGKILL
            new = set(script.asked[before:])
            assert not new & {seed_of(place) for place in recorded}
            assert code in (0, -signal.SIGKILL)
    assert kills == 3
    asked = sum(not event["failed"] for event in events(tmp_path / "run"))
    assert len(script.asked) <= asked <= len(script.asked) + 6 * kills  # some may be killed before they leave
    assert len(set(script.seen)) > 3
    assert replies(tmp_path / "run") == replies(plain)
    assert rows(tmp_path / "run") == rows(plain)


def kept(folder: Path) -> list[dict]:
    """The whole lines of a record."""
    file = folder / "answers.jsonl"
    return [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]] if file.exists() else []


def seed_of(place: tuple[str, int, int]) -> int:
    split, index, turn = place
    messages = (Message("user", "x"), *[Message("assistant", "y")] * (turn - 1))
    request = Request(f"gp-l/{split}/1000/{index}", messages)
    return Asking(NAME, Sampling(seed=1000)).body(request)["seed"]


def test_a_record_cut_at_any_byte_goes_on_to_the_same_numbers(plain: Path, tmp_path: Path) -> None:
    whole = (plain / "answers.jsonl").read_bytes()
    script = Script(solver())
    with serving(script) as url:
        for cut in (0, 1, 700, len(whole) // 2, len(whole) - 1):
            run = tmp_path / str(cut)
            run.mkdir()
            config = json.loads((plain / "config.json").read_text())
            config["config"]["server"]["base_url"] = url
            (run / "config.json").write_text(json.dumps(config))
            (run / "answers.jsonl").write_bytes(whole[:cut])
            before = len(script.asked)
            assert main(command(url, run)) == 0
            assert len(script.asked) - before == whole.count(b"\n") - whole[:cut].count(b"\n")
            assert replies(run) == replies(plain)
            assert rows(run) == rows(plain)


def test_a_change_is_refused(plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = Script(solver(), more={"system_fingerprint": "fp-1"})
    with serving(script) as url:
        assert main(command(url, tmp_path, "--most-requests", "9")) == 2
        assert "turns: 4 there, 9 now" in refusal(capsys, *command(url, tmp_path, "--turns", "9"))
        assert "seed: 1000 there, 7 now" in refusal(capsys, *command(url, tmp_path, "--seed", "7"))
        assert "body" in refusal(capsys, *command(url, tmp_path, "--body", '{"top_p": 0.5}'))
        script.more = {"system_fingerprint": "fp-2"}
        said = refusal(capsys, *command(url, tmp_path))
        assert "changed" in said
        assert "fp-1" in said
        assert "fp-2" in said
        assert main(command(url, tmp_path, "--may-change")) == 0
    assert {row["served"]["fingerprint"] for row in lines(tmp_path)} == {"fp-1", "fp-2"}
    assert json.loads((tmp_path / "results.json").read_text())["meta"]["served"]["fingerprints"] == ["fp-1", "fp-2"]


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]


def test_a_budget_counts_what_failed_in_earlier_calls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ruleshift.engines.patience.FIRST", 0.01)
    script = Script(solver(), fault=lambda number: "500" if number >= 5 else None)
    with serving(script) as url:
        assert "no answer in 2 attempts" in refusal(capsys, *command(url, tmp_path, "--retries", "1"))
        failed = len(script.asked) - 5
        assert failed >= 2
        assert [event["failed"][:8] for event in events(tmp_path) if event["failed"]] == ["HTTP 500"] * failed
        assert sum(not event["failed"] for event in events(tmp_path)) == len(script.asked)
        with (tmp_path / "requests.jsonl").open("a") as file:
            file.write('{"failed": ""')  # a kill in the middle of a line: a request all the same
        script.fault = lambda number: None
        bound = len(script.asked) + 4
        assert f"--most-requests {bound}" in refusal(capsys, *command(url, tmp_path, "--most-requests", str(bound)))
        assert len(script.asked) == bound - 1


def test_a_reply_that_is_thrown_away_costs_all_the_same(tmp_path: Path) -> None:
    """Each takes 12 tokens: the first empty one, and the reply after it."""
    script = Script(solver(), fault=lambda number: "says nothing" if number == 0 else None)
    with serving(script) as url:
        assert main(command(url, tmp_path, "--concurrency", "1", "--most-requests", "3")) == 2
        spent = events(tmp_path)
    assert [event["reply_tokens"] for event in spent if event["failed"] == "an empty reply"] == [5]
    spending = Spending(Budget())
    spending.go_on([Served("m", prompt_tokens=7, reply_tokens=5)] * 2, Ledger([Event(), Event("no", 7, 5, 2)]))
    assert (spending.requests, spending.prompt_tokens, spending.reply_tokens) == (1, 21, 15)


def test_a_server_that_stays_broken_ends_in_one_line_and_all_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ruleshift.engines.patience.FIRST", 0.01)
    script = Script(solver(), fault=lambda number: "500" if number > 20 else None)
    with serving(script) as url:
        said = refusal(capsys, *command(url, tmp_path, "--retries", "2"))
        assert "no answer in 3 attempts" in said
        assert "the same command" in said
        done = len(lines(tmp_path))
        assert done > 10
        script.fault = lambda number: None
        assert main(command(url, tmp_path, "--retries", "2")) == 0
    assert max(Counter(script.given).values()) == 1


def test_budgets_stop_cleanly_and_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], plain: Path) -> None:
    script = Script(solver(), wait=lambda body: 0.01)
    with serving(script) as url:
        assert "--most-requests 10" in refusal(capsys, *command(url, tmp_path, "--most-requests", "10"))
        assert len(script.asked) == len(script.given) == len(lines(tmp_path)) == 10
        assert "--most-requests 12" in refusal(capsys, *command(url, tmp_path, "--most-requests", "12"))
        assert len(script.asked) == len(lines(tmp_path)) == 12
        long = ("--max-new-tokens", "5")
        prices = ("--price-in", "1e3", "--price-out", "1e4")  # 0.057 a reply
        assert "prices" in refusal(capsys, *command(url, tmp_path / "m", "--most-money", "3"))
        money = (*long, *prices, "--most-money", "1.4")
        assert "--most-money 1.4" in refusal(capsys, *command(url, tmp_path / "m", *money))
        assert 0.3 < 0.057 * len(lines(tmp_path / "m")) <= 1.4
        assert "--most-tokens 900" in refusal(capsys, *command(url, tmp_path / "t", *long, "--most-tokens", "900"))
        assert 100 < 12 * len(lines(tmp_path / "t")) <= 900
        assert main(command(url, tmp_path)) == 0
    assert rows(tmp_path) == rows(plain)


def test_the_key_is_in_no_file_and_no_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RULESHIFT_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    script = Script(solver())
    with serving(script) as url:
        assert main(command(url, tmp_path, "--most-requests", "5")) == 2
        assert {headers["authorization"] for headers in script.headers} == {f"Bearer {KEY}"}
        with serving(Script(solver())) as other:
            assert main(command(url.replace("http://", f"http://{KEY}@"), tmp_path / "x")) == 2
            assert main(command(other, tmp_path)) == 2  # another address
    said = "".join(capfd.readouterr())
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in said.replace("@127", "")
    assert KEY.encode() not in written
    assert KEY not in repr(Server("http://x", KEY))


def test_an_echoed_key_is_not_repeated(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that repeats the key in refusals, failures, replies, and as its name."""
    monkeypatch.setattr("ruleshift.engines.patience.FIRST", 0.01)
    monkeypatch.setenv("RULESHIFT_API_KEY", KEY)
    caplog.set_level("DEBUG")
    told = f'{{"error": {{"message": "{"x" * 270} Incorrect API key provided: {KEY} for you"}}}}'
    faults = {2: f"refused 500 {told}", 4: f"refused 429 Bearer {KEY}", 5: "closed", 30: f"refused 401 {told}"}
    script = Script(lambda body: f"your key is {KEY}", fault=faults.get, more={"system_fingerprint": KEY})
    with serving(script) as url:
        assert main(command(url, tmp_path)) == 2
    assert len(script.seen) == 4
    said = "".join(capfd.readouterr()) + caplog.text
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"your key is ***" in written
    assert KEY.encode() not in written
    assert "refuses the key" in said
    assert "sk-very" not in said


def ask(url: str, request: Request, **changes: Any) -> Any:
    asking = Asking(NAME, changes.pop("sampling", Sampling()), **changes)
    model = ApiModel(Server(url, ""), asking, Spending(Budget()))

    async def once() -> Any:
        try:
            return await model.answer(request)
        finally:
            await model.answerer.close()

    return asyncio.run(once())


def test_what_is_asked_and_what_is_read() -> None:
    script = Script(lambda body: "yes", message={"reasoning_content": "hm"}, more={"system_fingerprint": "fp"})
    picture = Picture(1, 2, b"abcdef")
    messages = (Message("user", "look", (picture,)), Message("assistant", "a"), Message("user", "no"))
    with serving(script) as url:
        more = {"seed": None, "x": 1}
        completion = ask(url, Request("p", messages), sampling=Sampling(0.5, 9, 3, 20), system="be brief", more=more)
        ask(url, Request("p", messages, 1), logprobs=True)
    first, second = script.bodies
    assert [m["role"] for m in first["messages"]] == ["system", "user", "assistant", "user"]
    assert first["messages"][1]["content"][1] == {"type": "text", "text": "look"}
    url = first["messages"][1]["content"][0]["image_url"]["url"]
    assert read_picture(base64.b64decode(url.removeprefix("data:image/png;base64,"))) == picture
    assert (first["temperature"], first["max_tokens"], first["x"]) == (0.5, 29, 1)
    assert "seed" not in first
    assert "logprobs" not in first
    assert second["logprobs"] is True
    assert 0 <= second["seed"] < 2**31
    assert completion.text == "yes"
    assert (completion.served.thought, completion.served.fingerprint) == ("hm", "fp")
    served = completion.served
    assert (served.prompt_tokens, served.reply_tokens, served.thought_tokens) == (7, 5, 2)


def read(**changes: Any) -> Any:
    message = changes.pop("message", {"content": "x"})
    choice = {"message": message, "finish_reason": changes.pop("finish", "stop"), **changes.pop("choice", {})}
    return read_answer(json.dumps({"model": "m", "choices": [choice], **changes}).encode())[0]


def test_answers_are_read_whatever_their_shape() -> None:
    assert read(message={"content": [{"type": "text", "text": "a"}, {"text": "b"}, 3]}).text == "ab"
    assert read(message={"content": None, "refusal": "I cannot"}).text == "I cannot"
    assert read(message={"content": None}, finish="length").stop_reason == "length"
    logprobs = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1}]}
    assert read(choice={"logprobs": logprobs}).logprobs == (-0.5, -1.0)
    assert read(choice={"logprobs": {"content": [{"logprob": None}]}}).logprobs == ()
    for odd in (float("nan"), float("-inf"), -(10**400), 10**400, 0.5, True, "0"):
        assert read(choice={"logprobs": {"content": [{"logprob": -1.0}, {"logprob": odd}]}}).logprobs == ()
    for odd in (5, True, "abc", {"a": 1}, [3], None):
        assert read(choice={"logprobs": {"content": odd}}).logprobs == ()
    assert read(usage={"prompt_tokens": -1, "completion_tokens": True}).text == "x"
    assert len(read(message={"content": "x" * 2_000_000}).text) == 1_000_000


def test_half_a_character_ends_no_evaluation(tmp_path: Path) -> None:
    """A lone surrogate, as servers that cut texts anywhere send it; records of earlier versions hold some."""
    script = Script(lambda body: "half a pair \ud83d", message={"reasoning": "\ud83d"}, more={"model": f"{NAME}\ud800"})
    with serving(script) as url:
        assert main(command(url, tmp_path, "--n", "2", "--turns", "3")) == 0
        assert {(row["text"], row["served"]["thought"], row["served"]["model"]) for row in lines(tmp_path)} == {
            ("half a pair ?", "?", f"{NAME}?")
        }
        messages = (Message("user", "x"), Message("assistant", "half \ud83d"), Message("user", "no"))
        ask(url, Request("p", messages), system="be \udcff")
    assert [m["content"] for m in script.bodies[-1]["messages"]] == ["be ?", "x", "half ?", "no"]


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b'{"choices": {}}', b'{"choices": [3]}', b"[" * 100_000, b'{"choices": [{"message": "x"}]}'],
)
def test_what_is_no_answer_is_broken(data: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        read_answer(data)


def test_a_model_that_says_nothing_says_nothing() -> None:
    script = Script(lambda body: "")
    with serving(script) as url:
        assert ask(url, Request("p", (Message("user", "x"),))).text == ""
    assert len(script.asked) == 3


def test_an_alias_is_believed_once_it_is_met_twice() -> None:
    who = Identity("best")
    with pytest.raises(BrokenAnswer, match="gpt"):
        who.check(Served("gpt"))
    who.check(Served("gpt"))
    with pytest.raises(BrokenAnswer, match="other"):
        who.check(Served("other"))
    with pytest.raises(BrokenAnswer, match="other"):
        who.check(Served("other"))
    who.check(Served("gpt"))
    Identity("gpt-4o").check(Served("gpt-4o-2024-08-06"))


def test_waits_grow_are_spread_and_honour_the_server() -> None:
    rng = random.Random(0)
    for failures, bound in ((1, 0.5), (2, 1.0), (5, 8.0), (30, 60.0), (5_000, 60.0)):
        waits = [backoff(failures, rng) for _ in range(300)]
        assert bound / 2 <= min(waits) < 0.55 * bound
        assert 0.95 * bound < max(waits) <= bound
    assert asked_wait({"retry-after": "3"}, 0) == 3
    assert asked_wait({"retry-after": "0.25"}, 0) == 0.25
    assert asked_wait({"retry-after-ms": "1500", "retry-after": "9"}, 0) == 1.5
    assert asked_wait({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 20) == 40
    assert asked_wait({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 90) == 0
    for odd in ("soon", "nan", "inf", "", "-inf", "Thu, 99 Jan"):
        assert asked_wait({"retry-after": odd}, 0) is None
    assert asked_wait({}, 0) is None


def test_a_server_that_wants_peace_is_left_in_peace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []
    script = Script(lambda body: "x", fault=lambda n: "429" if n == 0 else None)
    script.at = lambda number: times.append(time.monotonic())
    monkeypatch.setattr("ruleshift.engines.patience.FIRST", 0.001)
    with serving(script) as url:
        ask(url, Request("p", (Message("user", "x"),)))
        assert times[1] - times[0] >= 0.2
        impatient = ApiModel(Server(url, "", patience=0.1), Asking(NAME, Sampling()), Spending(Budget()))
        script.fault = lambda n: "429"
        with pytest.raises(NoMoreAnswers, match="left alone"):
            asyncio.run(_closing(impatient))


async def _closing(model: ApiModel) -> None:
    try:
        await model.answer(Request("p", (Message("user", "x"),)))
    finally:
        await model.answerer.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "api:", "--base-url", "http://x"], "names no model"),
        (["--model", "api:x", "--base-url", "x"], "no address"),
        (["--model", "api:x", "--base-url", "http://a:b@x"], "password"),
        (["--model", "api:x"], "no key in the environment"),
        (["--model", "api:x", "--base-url", "http://x", "--body", "[1]"], "JSON object"),
        (["--model", "api:x", "--base-url", "http://x", "--chat-template", "plain"], "leave --chat-template out"),
        (["--model", "api:x", "--base-url", "http://x", "--key-variable", "NO_KEY"], "or leave --key-variable out"),
        (["--model", "bundled", "--base-url", "http://x"], "behind no server"),
        (["--model", "expert", "--samples", "2"], "sampled"),
    ],
)
def test_what_cannot_be_asked(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert said in refusal(capsys, "eval", "gp-l", "--n", 2, *arguments)


@pytest.mark.slow
def test_ctrl_c_keeps_everything_and_says_how_to_go_on(tmp_path: Path) -> None:
    script = Script(solver(), wait=lambda body: 0.1)
    with serving(script) as url:
        process = subprocess.Popen(
            [sys.executable, "-m", "ruleshift", *command(url, tmp_path / "run")],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
        )
        script.at = lambda number: number == 12 and process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert f"{tmp_path / 'run'} keeps every reply so far; run the same command again" in errors
    assert 4 <= len(kept(tmp_path / "run")) <= 12
    assert "Traceback" not in errors


def test_a_damaged_line_is_named_and_can_be_deleted(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Script(solver())
    with serving(script) as url:
        assert main(command(url, tmp_path)) == 0
        file = tmp_path / "answers.jsonl"
        whole = file.read_bytes().splitlines(keepends=True)
        for damage in (b"{}\n", b"\0\0\0\n", whole[3].replace(b'"turn": ', b'"turn": "x", "t": ')):
            file.write_bytes(b"".join([*whole[:3], damage, *whole[4:]]))
            assert "line 4 of" in refusal(capsys, *command(url, tmp_path))
        file.write_bytes(b"".join([*whole[:3], *whole[4:]]))
        assert main(command(url, tmp_path)) == 0
    assert replies(tmp_path) == replies(plain)
    assert sum(map(len, read_record(tmp_path).values())) == len(whole)


def test_spending_waits_for_what_may_turn_out_cheaper() -> None:
    spending = Spending(Budget(most_tokens=100))

    async def one(most: int, real: int) -> None:
        async with spending.admitted((0, most)):
            await asyncio.sleep(0.01)
            spending.count(Served("m", prompt_tokens=0, reply_tokens=real))

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(one(60, 10) for _ in range(8)), return_exceptions=True)

    found = asyncio.run(all_of_them())
    assert spending.reply_tokens == 50  # after five of them another could exceed it
    assert sum(isinstance(result, NoMoreAnswers) for result in found) == 3
    with pytest.raises(NoMoreAnswers, match="counts no tokens"):
        spending.count(Served("m"))
    with pytest.raises(RuleshiftError, match="prices"):
        Budget(most_money=1.0)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, '{"error": {"message": "no parameter seed"}}', "no parameter seed"),
        (400, '{"detail": "the server is pinned"}', "the server is pinned"),
        (422, "plain words", "plain words"),
        (413, "", "fewer turns (--turns)"),
        (401, '{"error": {"message": "bad key sk-very-secret"}}', "--key-variable"),
        (403, "", "refuses the key"),
        (404, '{"error": {"message": "unknown model"}}', "unknown model"),
        (429, '{"error": {"message": "pay", "code": "insufficient_quota"}}', "pay"),
    ],
)
def test_a_refusal_is_told_once_with_its_reason(
    status: int, body: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RULESHIFT_API_KEY", KEY)
    script = Script(solver(), fault=lambda number: f"refused {status} {body}")
    with serving(script) as url:
        line = refusal(capsys, "eval", "gp-l", "--model", "api:x", "--base-url", url, "--n", 3, "--concurrency", 1)
    assert said in line
    assert KEY not in line
    assert len(script.asked) == 1


@pytest.mark.parametrize("fault", ["refused 500 " + "x" * 2**22, "packed", "in letters of zlib"])
def test_of_a_refusal_only_the_beginning_is_read(fault: str) -> None:
    """Whatever the size of what comes, or of what it unpacks to."""
    with serving(Script(solver(), fault=lambda number: fault)) as url:
        model = ApiModel(Server(url, "", retries=0), Asking(NAME, Sampling()), Spending(Budget()))

        async def once() -> tuple[Any, BaseException]:
            with pytest.raises(openai.InternalServerError) as raised:
                await model._post({"model": NAME, "messages": []})
            with pytest.raises(NoMoreAnswers, match="HTTP 500") as told:
                await _closing(model)
            return raised.value.response, told.value

        response, told = asyncio.run(once())
    assert len(response.content) <= refusals.MOST_BYTES
    assert len(str(told)) < 600


def test_a_redirection_is_followed_and_not_read() -> None:
    script = Script(lambda body: "yes", fault=lambda number: "elsewhere" if number < 2 else None)
    with serving(script) as url:
        assert ask(url, Request("p", (Message("user", "x"),))).text == "yes"
        assert len(script.asked) == 3
        script.fault = lambda number: "elsewhere"
        with pytest.raises(NoMoreAnswers, match="HTTP 307"):
            ask(url, Request("p", (Message("user", "x"),)))


def test_play_shows_thoughts_apart(capsys: pytest.CaptureFixture[str]) -> None:
    script = Script(lambda body: "no idea", message={"reasoning": "hm, hard"})
    with serving(script) as url:
        assert main(["play", "gp-l", "--model", f"api:{NAME}@{url}", "--turns", "1"]) == 0
    said = capsys.readouterr().out
    assert "thought 1" in said
    assert "hm, hard" in said
    assert "no idea" in said
