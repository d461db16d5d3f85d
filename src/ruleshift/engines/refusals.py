"""The HTTP client of openai, which reads everything that is no success without bounds, with bounds."""

from contextlib import suppress
from typing import Any

from openai import DefaultAsyncHttpxClient

MOST_BYTES = 2**20  # of a refusal: what comes after is dropped


class BoundedClient(DefaultAsyncHttpxClient):
    """Of a refusal only the beginning is read, and of a redirection nothing. What its body is said to be counts for
    nothing, as it may be anything."""

    async def send(self, request: Any, **more: Any) -> Any:
        for _ in range(self.max_redirects):
            response = await super().send(request, **{**more, "follow_redirects": False})
            if response.next_request is None:
                break
            await response.aclose()
            request = response.next_request
        return response if response.is_success else await _beginning(response)


async def _beginning(response: Any) -> Any:
    """The same refusal with the beginning of its body, as far as that came."""
    body = b""
    with suppress(Exception):  # of the HTTP library, for a body that is cut off or badly packed
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) >= MOST_BYTES:
                break
    await response.aclose()
    told = (b"content-", b"transfer-encoding")  # bytes, since some servers put more than ASCII into a header
    headers = [(name, value) for name, value in response.headers.raw if not name.lower().startswith(told)]
    return type(response)(response.status_code, headers=headers, content=body[:MOST_BYTES], request=response.request)
