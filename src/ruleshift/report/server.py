"""A page that is served to the browser of this machine: for more episodes than one file can hold, and runs that go on.

It answers five questions and no other: the page, the index, one episode by its number, what was to be seen in it, and
where a text stands. None of them names a file.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ruleshift.errors import RuleshiftError
from ruleshift.report.library import Library, as_plain, scene_as_plain

HOST = "127.0.0.1"
MOST_DIGITS = 9  # of the number of an episode


@dataclass
class Shown:
    """What is served: `render(library)` makes the page, `refresh(library)` adds episodes that have come since."""

    library: Library
    render: Callable[[Library], str]
    refresh: Callable[[Library], None]
    stamp: Callable[[], object]  # changes when the page does
    _lock: Lock = field(default_factory=Lock)
    _drawing: Lock = field(default_factory=Lock)  # one at a time: no episode waits for what is drawn
    _page: tuple[object, bytes] | None = None
    _index: tuple[int, bytes] | None = None

    def page(self) -> bytes:
        """The page, made anew where its numbers have changed."""
        with self._lock:
            now = self.stamp()
            if self._page is None or self._page[0] != now:
                self._page = now, self.render(self.library).encode("utf-8", "replace")
            return self._page[1]

    def index(self, known: str) -> bytes:
        """The index; only its count where that many episodes are `known` already."""
        with self._lock:
            self.refresh(self.library)
            if known == str(len(self.library)):
                return _json({"count": len(self.library)})
            if self._index is None or self._index[0] != len(self.library):
                self._index = len(self.library), _json(self.library.index())
            return self._index[1]

    def answer(self, target: str) -> tuple[str, bytes] | None:
        """The kind and the bytes that a request gets; None for one that asks for something else. Raises RuleshiftError
        for an episode whose file is damaged."""
        asked = urlsplit(target)
        told = parse_qs(asked.query)
        if asked.path == "/":
            return "text/html; charset=utf-8", self.page()
        if asked.path == "/index":
            return "application/json", self.index(told.get("known", [""])[0])
        if asked.path == "/search":
            return "application/json", _json(self.library.search(told.get("q", [""])[0]))
        _, _, rest = asked.path.partition("/")
        kind, _, number = rest.partition("/")
        if number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS and int(number) < len(self.library):
            if kind == "episode":
                return "application/json", _json(as_plain(self.library.episode(int(number))))
            if kind == "scene":
                with self._drawing:
                    return "application/json", _json(scene_as_plain(self.library.scene(int(number))))
        return None


def serve(shown: Shown, port: int = 0) -> ThreadingHTTPServer:
    """A server on this machine alone, which has yet to be run. Port 0 takes one that is free. Raises RuleshiftError
    where the port is taken."""
    try:
        return ThreadingHTTPServer((HOST, port), _handler(shown))
    except OSError as error:
        raise RuleshiftError(f"port {port} cannot be served ({error.strerror}): choose another --port") from error


def _handler(shown: Shown) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            port = self.server.server_port  # type: ignore[attr-defined]
            if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):  # a foreign name for this one
                self._send(HTTPStatus.FORBIDDEN, "text/plain", b"")
                return
            try:
                found = shown.answer(self.path)
            except RuleshiftError as error:
                self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", str(error).encode("utf-8", "replace"))
                return
            if found is None:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is nothing here")
            else:
                self._send(HTTPStatus.OK, *found)

        def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
            packed = len(content) > 10_000 and "gzip" in self.headers.get("Accept-Encoding", "")
            content = gzip.compress(content, 1) if packed else content
            self.send_response(status)
            headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store"}
            headers |= {"X-Content-Type-Options": "nosniff"} | ({"Content-Encoding": "gzip"} if packed else {})
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Nothing is logged."""

    return Handler


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def stamp_of(*files: Path) -> tuple[float, ...]:
    """When these files last changed; 0 for one that is not there."""
    return tuple(file.stat().st_mtime if file.is_file() else 0.0 for file in files)
