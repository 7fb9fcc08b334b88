"""Which errors of a job are tried again, and when."""

from __future__ import annotations

import random

from appliance.errors import ChadboxError, Offline, ServerError

BACKOFF = 2.0  # seconds before the second attempt; doubles with each
LONGEST = 600.0  # seconds; no wait is longer, whatever a server wishes
ERROR = 300  # most characters of an error that are kept


class Retry(ChadboxError):
    """Raised by a handler: it did not work now, try again, after `after` seconds if given."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


def temporary(error: BaseException) -> bool:
    """Whether trying again may help."""
    if isinstance(error, ServerError):
        return error.status is None or error.status >= 500 or error.status == 429 or error.retry_after is not None
    return isinstance(error, (Offline, Retry))


def delay(error: BaseException, attempt: int) -> float:
    """Seconds until the next attempt: doubling, spread by a quarter, but what the other side asked for comes first."""
    wish = getattr(error, "after", None) or getattr(error, "retry_after", None)
    pause = wish if wish is not None else BACKOFF * 2.0 ** (attempt - 1)
    return float(min(max(pause, 0.0) * random.uniform(1.0, 1.25), LONGEST))  # noqa: S311


def line(error: BaseException) -> str:
    """`error` in one printable line, for people."""
    text = str(error).strip() or type(error).__name__
    one = text.splitlines()[0] if isinstance(error, ChadboxError) else f"{type(error).__name__}: {text.splitlines()[0]}"
    return "".join(c if c.isprintable() else " " for c in one)[:ERROR]
