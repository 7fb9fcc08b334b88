"""Answers in JSON, and the one shape of an error: `{"error": {"code", "message"}}`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response


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


def json_response(data: bytes, status: int = 200) -> Response:
    return Response(data, status, media_type="application/json")


def error_response(error: ApiError) -> Response:
    body = msgspec.json.encode({"error": {"code": error.code, "message": error.message}})
    return Response(body, error.status, error.headers, "application/json")
