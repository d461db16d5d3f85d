"""An OpenAI-compatible chat server that answers as it is told, and fails as it is told."""

import asyncio
import gzip
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

FAULTS = (
    "429",
    "429 at once",
    "500",
    "503 as a page",
    "slow",
    "cut",
    "cut chunk",
    "no json",
    "no choices",
    "no message",
    "another model",
    "huge",
    "closed",
    "says nothing",
)
NAME = "subject"


@dataclass
class Script:
    """`reply` says what is answered to a body, `fault` what happens to the n-th request instead (None: nothing), and
    `wait` how long an answer takes. `asked` are the seeds of all requests in the order in which they came, `given`
    those of whole answers."""

    reply: Callable[[dict[str, Any]], str]
    fault: Callable[[int], str | None] = lambda number: None
    wait: Callable[[dict[str, Any]], float] = lambda body: 0.0
    more: dict[str, Any] = field(default_factory=dict)
    message: dict[str, Any] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)  # the faults that happened
    at: Callable[[int], object] = lambda number: None  # called with the number of each request


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """The base URL of a server that follows the script, in a thread of its own."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    urls: list[str] = []
    servers: list[asyncio.Server] = []

    async def start() -> None:
        server = await asyncio.start_server(lambda r, w: _connection(script, r, w), "127.0.0.1", 0, backlog=1024)
        servers.append(server)
        urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        ready.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        servers[0].close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


async def _connection(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await _request(script, reader, writer):
            pass
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _request(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer one request; whether the connection stays."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
    body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))))
    number = len(script.asked)
    script.asked.append(body.get("seed", 0))
    script.bodies.append(body)
    script.headers.append(headers)
    script.at(number)
    fault = script.fault(number)
    if fault is not None:
        script.seen.append(fault)
        return await _fail(fault, body, writer)
    await asyncio.sleep(script.wait(body))
    await _send(writer, 200, json.dumps(answer(script.reply(body), script)).encode())
    script.given.append(body.get("seed", 0))
    return True


def answer(text: str | None, script: Script | None = None, model: str = NAME) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **(script.message if script else {})}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 2}}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "1", "model": model, "choices": [choice], "usage": usage, **(script.more if script else {})}


async def _fail(fault: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
    good = json.dumps(answer('{"formula": "cut"}')).encode()
    if fault.startswith("429"):
        after = {"Retry-After": "0.2"} if fault == "429" else {}
        await _send(writer, 429, b'{"error": {"message": "slow down"}}', after)
    elif fault.startswith("refused"):
        _, status, said = fault.split(" ", 2)
        await _send(writer, int(status), said.encode(), {"X-Said-By": "la clé"})
    elif fault == "packed":  # a thousand times as large as what is sent
        packed = {"Content-Encoding": "gzip"}
        await _send(writer, 500, gzip.compress(b" " * 2**22), packed)
    elif fault == "in letters of zlib":
        await _send(writer, 500, zlib.compress(b" " * 2**22), {"Content-Type": "text/plain; charset=zlib"})
    elif fault == "elsewhere":
        await _send(writer, 307, b" " * 2**22, {"Location": "/v1/chat/completions"})
    elif fault.startswith("5"):
        await _send(writer, int(fault[:3]), b"<html>bad gateway</html>" if "page" in fault else b'{"error": "oh"}')
    elif fault == "slow":
        await asyncio.sleep(6)
        return False
    elif fault == "cut":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + good[:60])
        await writer.drain()
        return False
    elif fault == "cut chunk":
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n" + good[:60])
        await writer.drain()
        return False
    elif fault == "no json":
        await _send(writer, 200, good[:-20])
    elif fault == "no choices":
        await _send(writer, 200, json.dumps({**answer(""), "choices": []}).encode())
    elif fault == "no message":
        await _send(writer, 200, b'{"model": "subject", "choices": [{"message": null}]}')
    elif fault == "another model":
        await _send(writer, 200, json.dumps(answer('{"formula": "other"}', model="other")).encode())
    elif fault == "huge":
        await _send(writer, 200, b" " * (33 * 2**20) + good)
    elif fault == "says nothing":
        await _send(writer, 200, json.dumps(answer(None)).encode())
    else:
        assert fault == "closed", fault
        return False
    return True


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    told = {"Content-Type": "application/json", "Content-Length": len(body), **(headers or {})}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in told.items())]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()
