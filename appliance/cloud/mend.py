"""JSON that is nearly JSON: half a surrogate pair, as a server sends it for a file name that is not UTF-8."""

from __future__ import annotations

import re

# Group 1 when it is a lone half.
_LONE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def mend(body: bytes) -> bytes:
    """`body` with every lone half replaced by U+FFFD."""
    return _LONE.sub(lambda match: match[0] if match[1] is None else b"\\ufffd", body)
