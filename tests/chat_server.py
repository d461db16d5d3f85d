"""A stand-in for an OpenAI-compatible server: it answers chat completions with a function of the messages."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[list[dict[str, Any]]], str]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """The base URL of a server that runs as long as this is open."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            message = {"role": "assistant", "content": answer(request["messages"])}
            streamed = bool(request.get("stream"))
            choice = {"index": 0, "delta" if streamed else "message": message, "finish_reason": "stop"}
            body = {
                "id": "chat-1",
                "object": "chat.completion.chunk" if streamed else "chat.completion",
                "created": 0,
                "model": request.get("model", "stand-in"),
                "choices": [choice],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
            if streamed:
                self._send_bytes(f"data: {json.dumps(body)}\n\ndata: [DONE]\n\n".encode(), "text/event-stream")
            else:
                self._send(body)

        def do_GET(self) -> None:
            self._send({"object": "list", "data": [{"id": "stand-in", "object": "model"}]})

        def _send(self, body: dict[str, Any]) -> None:
            self._send_bytes(json.dumps(body).encode(), "application/json")

        def _send_bytes(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, whose content may be parts."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
