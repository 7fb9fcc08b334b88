"""The one shape of an error answer: `{"error": {"code", "message"}}`."""

from __future__ import annotations

from collections.abc import Mapping


class ApiError(Exception):
    """An answer of `status` with a code for programs and a message for a person; never a traceback."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def bad_request(message: str) -> ApiError:
    return ApiError(400, "bad_request", message)


def not_found(what: str) -> ApiError:
    return ApiError(404, "not_found", f"{what}: no such thing on this server")
