"""When to ask a server again: exponential backoff with jitter, never before the server says."""

import random
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite

FIRST = 0.5  # seconds
LONGEST = 60.0  # that we choose to wait; a server may ask for longer


def backoff(failures: int, rng: random.Random) -> float:
    """Seconds to wait after so many failures in a row (at least one).

        uniform in [b / 2, b]        b = min(LONGEST, FIRST 2^(failures - 1))

    Source: the exponential backoff "with equal jitter" of M. Brooker, AWS Architecture Blog, 2015.
    """
    bound = min(LONGEST, FIRST * 2.0 ** min(failures - 1, 30))
    return bound * (0.5 + rng.random() / 2)


def asked_wait(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds for which a server asks to be left alone (`retry-after-ms`, `Retry-After` in seconds or as a date);
    None where it says nothing that can be read. now: seconds since 1970.

    Source: RFC 9110, section 10.2.3.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        if (text := headers.get(name)) is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - now
            except (ValueError, OverflowError):
                continue
        if isfinite(seconds):
            return max(0.0, seconds)
    return None
