"""Every error that chadbox raises on purpose.

ChadboxError                 one line for a person; `code` is a word for programs
+-- SettingsError            a setting is missing, misspelt or of the wrong type
+-- NotFound                 the thing named is not in the library, queue, cache ...
+-- UsageError               the command makes no sense as given
+-- NotRunning               the player is not running (exit code 3)
+-- CloudError               the music server could not be used
|   +-- Offline              no connection: DNS, refused, time-out, reset
|   |   +-- Untrusted        TLS could not be set up: a certificate that proves nothing
|   |   +-- ClockUnset       the certificate lies in the future of this box's clock
|   +-- TokenRejected        401 after the one refresh that is allowed
|   +-- ServerError          an answer that makes no sense, or 5xx
|   +-- SequenceExpired      410 on the delta library: start over
|   +-- Gone                 403, 404 or 410 on a file
|   +-- BadAddress           a URL from the server that nobody could request
+-- Unplayable               what the server has is not in a form that can be played
+-- SignInFailed             the code was denied or expired, or the server knows no codes
+-- StorageError             the disk is full or broken
+-- EngineError              libmpv or its process could not be used
"""

from __future__ import annotations


class ChadboxError(Exception):
    """A failure with a one-line message that says what to do; never shown with a traceback."""

    code = "failed"
    exit_code = 1


class SettingsError(ChadboxError, ValueError):
    code = "bad_settings"


class NotFound(ChadboxError, LookupError):
    code = "not_found"


class UsageError(ChadboxError, ValueError):
    code = "usage"
    exit_code = 2


class NotRunning(ChadboxError, ConnectionError):
    code = "not_running"
    exit_code = 3


class CloudError(ChadboxError):
    code = "server_error"


class Offline(CloudError, ConnectionError):
    code = "offline"


class Untrusted(Offline):
    code = "untrusted"


class ClockUnset(Offline):
    code = "clock_unset"


class TokenRejected(CloudError, PermissionError):
    code = "token_rejected"


class ServerError(CloudError):
    """The server answered nonsense; `retry_after` is its wish in seconds, if it had one."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class SequenceExpired(CloudError):
    code = "sequence_expired"


class Gone(CloudError, LookupError):
    """The server says that this file is not to be had at this URL (403, 404, 410)."""

    code = "gone"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unplayable(ChadboxError):
    """No second try can mend it."""

    code = "unplayable"


class SignInFailed(ChadboxError):
    code = "sign_in_failed"


class BadAddress(CloudError, ValueError):
    """No second try can mend it."""

    code = "bad_address"


class StorageError(ChadboxError, OSError):
    code = "storage"


class EngineError(ChadboxError):
    code = "engine"
