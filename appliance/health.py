"""What is wrong right now, in the words of A5: one set for display, `status` and log."""

from __future__ import annotations

import logging

from appliance.errors import ChadboxError, ClockUnset, CloudError, Offline, TokenRejected, Untrusted
from appliance.events import Bus, HealthChanged

log = logging.getLogger(__name__)


CLOUD = ("offline", "server-error", "token-rejected")  # what an answer of the server that makes sense puts right


def word_of(error: ChadboxError) -> str:
    """The word for a server that could not be used; a token file that cannot be read counts as a token refused."""
    if isinstance(error, ClockUnset):
        return "clock-unset"
    if isinstance(error, Offline) and not isinstance(error, Untrusted):
        return "offline"
    if isinstance(error, TokenRejected) or not isinstance(error, CloudError):
        return "token-rejected"
    return "server-error"


class Health:
    """A set of words; an empty set is `ok`. Each change is logged once and published."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._words: dict[str, str] = {}

    def raise_(self, word: str, detail: str = "") -> None:
        """Something is wrong; `detail` is one line for the log, told again only when it changes."""
        new = word not in self._words
        if new or self._words[word] != detail:
            self._words[word] = detail
            log.warning("%s%s", word, f": {detail}" if detail else "")
        if new:
            self._publish()

    def clear(self, word: str) -> None:
        if self._words.pop(word, None) is not None:
            log.info("%s is over", word)
            self._publish()

    def set(self, word: str, wrong: bool, detail: str = "") -> None:
        if wrong:
            self.raise_(word, detail)
        else:
            self.clear(word)

    def __contains__(self, word: str) -> bool:
        return word in self._words

    @property
    def words(self) -> list[str]:
        """As `status` shows it: `["ok"]` when nothing is wrong."""
        return sorted(self._words) or ["ok"]

    @property
    def details(self) -> dict[str, str]:
        return dict(self._words)

    def _publish(self) -> None:
        self._bus.publish(HealthChanged(tuple(sorted(self._words))))
