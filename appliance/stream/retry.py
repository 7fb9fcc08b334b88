"""When to try again and when to stop trying: the one policy for fetching audio (P4, R5).

what went wrong                                        what happens
  no connection, reset, stall, TLS, token refused         tried again for ever, with growing pauses
  "later": 408, 425, 429, 502-504, 507                    the same, but not before the time the server asked for
  makes no sense: any other status, a page, wrong range   passed over after ATTEMPTS in a row, if the server is itself
  gone: 404, 410 (403)                                    a fresh URL is asked for; if that one is gone too, passed over
"""

from __future__ import annotations

import random

from appliance.cloud.timing import Timing
from appliance.errors import ChadboxError, Offline, ServerError

ATTEMPTS = 5  # answers without sense in a row before a track counts as not to be had
PROGRESS = 64 << 10  # bytes that make a broken answer count as getting on
_LATER = (408, 425, 429, 502, 503, 504, 507)


def delay(failures: int, asked: float | None = None, timing: Timing | None = None) -> float:
    """Seconds to wait after so many failures in a row; `asked` is the server's Retry-After.

    A fifth of jitter keeps several boxes from knocking in step after an outage.
    """
    timing = timing or Timing()
    base = timing.retries[min(failures, len(timing.retries)) - 1] if failures > 0 else 0.0
    wait: float = base * random.uniform(0.8, 1.2)  # noqa: S311  (no secret depends on it)
    return max(wait, min(asked or 0.0, timing.retry_after))


def makes_no_sense(error: ChadboxError) -> bool:
    """Whether asking for another track might go better than asking for this one again."""
    return isinstance(error, ServerError) and error.status not in _LATER


class Attempts:
    """What has gone wrong with one demand since it last got on. Times are the event loop's."""

    def __init__(self) -> None:
        self.failures = 0
        self.nonsense = 0
        self.not_before = 0.0
        self._counted = 0.0
        self._asked = False  # the last wait was the server's wish

    def failed(self, error: ChadboxError, began: float, now: float, timing: Timing, *, heard: bool) -> float:
        """Count a request that `began` then; seconds to wait. Requests that were under way together count once.

        `heard`: it is the track that plays, whose buffer may not last until a long pause is over.
        """
        if began >= self._counted:
            self._counted = now
            self.failures += 1
            self.nonsense += makes_no_sense(error)
        wait = delay(self.failures, getattr(error, "retry_after", None), timing)
        self._asked = getattr(error, "retry_after", None) is not None
        if heard and isinstance(error, Offline):
            wait = min(wait, timing.listening)
        self.not_before = max(self.not_before, now + wait)
        return wait

    def hurry(self, now: float, timing: Timing) -> None:
        """Somebody listens now: do not sit out a long pause, unless the server has asked for it."""
        if not self._asked:
            self.not_before = min(self.not_before, now + timing.listening)

    def got_on(self) -> None:
        self.failures = self.nonsense = 0
        self.not_before = 0.0
