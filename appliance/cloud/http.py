"""One HTTP exchange: connection pool, time-outs, redirects, and where the token may go.

httpcore is the transport underneath httpx. Used by itself it starts 60 ms sooner and takes 4 MiB less, and the two
things httpx would add, redirects and authentication, are exactly the ones that need rules of our own (P3).
"""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from msgspec import Struct

from appliance.cloud.timing import Timing
from appliance.errors import BadAddress, ChadboxError, ClockUnset, Offline, ServerError, Untrusted

if TYPE_CHECKING:
    import httpcore

    from appliance.cloud.auth import TokenSource

POOL_TIMEOUT = 60.0  # seconds
MAX_REDIRECTS = 5
CONNECTIONS = 6
REDIRECTS = (301, 302, 303, 307, 308)
USER_AGENT = b"chadbox"


class Stream(Struct, frozen=True):
    """A body of `size` bytes that is made while it is sent; `start` begins it anew, as after a 401 or a redirect."""

    size: int
    start: Callable[[], AsyncIterator[bytes]]


class Response:
    """Status, lower-case headers and a body that is read once. `url` is where it came from after redirects."""

    def __init__(self, raw: httpcore.Response, url: str, timing: Timing) -> None:
        self._timing = timing
        self.status = raw.status
        self.url = url
        self.headers: dict[str, str] = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in raw.headers}
        self._raw = raw

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces as they arrive. Raises Offline when the connection fails, ServerError for no HTTP.

        A connection that gives a byte now and then is as dead as one that gives none; only the time spent waiting for
        the network counts, not what the caller does with the bytes.
        """
        clock, waited, got = time.monotonic, 0.0, 0
        async with _translated(self.url):
            pieces = self._raw.aiter_stream()
            while True:
                began = clock()
                try:
                    chunk = await anext(pieces)
                except StopAsyncIteration:
                    return
                waited, got = waited + clock() - began, got + len(chunk)
                if waited >= self._timing.stall:
                    if got < waited * self._timing.slowest:
                        yield chunk
                        raise Offline(f"{host_of(self.url)} sends next to nothing; trying again")
                    waited, got = 0.0, 0
                yield chunk

    async def body(self, limit: int) -> bytes:
        """The whole body; ServerError when it is longer than `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise ServerError(f"{host_of(self.url)}: the answer is larger than {limit} bytes", status=self.status)
            parts.append(chunk)
        return b"".join(parts)


class Http:
    """Exchanges with the music server at `base_url` (http or https, may have a path)."""

    def __init__(self, base_url: str, tokens: TokenSource, timing: Timing) -> None:
        self.timing = timing
        self.base_url = base_url.rstrip("/") + "/"
        self.tokens = tokens
        self._pool: httpcore.AsyncConnectionPool | None = None

    def url(self, reference: str) -> str:
        """`reference` (a path of the server or an absolute URL) as a URL that is safe to request.

        Raises BadAddress for other schemes, control characters and what is no URL.
        """
        if not reference:
            raise BadAddress("the server gave no URL")
        if any(ord(c) < 0x20 or ord(c) == 0x7F for c in reference):
            raise BadAddress("the server gave a URL with control characters in it")
        base = self.base_url if not reference.startswith("/") else self.base_url[:-1]
        joined = base + reference if reference.startswith("/api/") else _joined(self.base_url, reference)
        parts = urlsplit(joined)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadAddress(f"the server gave a URL that is not http or https: {parts.scheme or 'empty'}")
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~")
        query = "?" + quote(parts.query, safe="/%:@!$&'()*+,;=-._~?") if parts.query else ""
        return f"{parts.scheme}://{_netloc(joined)}{path}{query}"

    def may_carry_token(self, url: str) -> bool:
        """Only the server's own origin gets the token, or the same host after an upgrade from http to https."""
        ours, theirs = urlsplit(self.base_url), urlsplit(url)
        if _origin(self.base_url) == _origin(url):
            return True
        upgrade = ours.scheme == "http" and theirs.scheme == "https" and ours.hostname == theirs.hostname
        return upgrade and ours.port in (None, 80) and theirs.port in (None, 443)

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | Stream | None = None,
        *,
        private: bool = False,
    ) -> AsyncIterator[Response]:
        """Send a request, follow redirects, give the response; the connection is returned at the end of the block.

        A `private` one has a secret in its body: it goes to no other host, and without the token in the header. A
        Stream, a file of the owner's, goes to no other host either; what it raises while it is sent comes out here.

        Raises Offline (no connection, time-out, reset) and ServerError (no HTTP, too many redirects).
        """
        import httpcore

        target = url
        for _ in range(MAX_REDIRECTS + 1):
            send: list[tuple[bytes, bytes]] = [
                (b"Host", _netloc(target).encode("ascii")),
                (b"User-Agent", USER_AGENT),
                (b"Accept-Encoding", b"identity"),
            ]
            if private and not self.may_carry_token(target):
                raise ServerError(f"{host_of(url)} sends the sign-in to another host, {host_of(target)}; not done")
            if isinstance(content, Stream) and not self.may_carry_token(target):
                raise ServerError(f"{host_of(url)} sends uploads to another host, {host_of(target)}; not done")
            token = self.tokens.header() if not private and self.may_carry_token(target) else None
            if token:
                send.append((b"Authorization", token))
            send += [(k.encode("ascii"), v.encode("latin-1")) for k, v in (headers or {}).items()]
            body: bytes | AsyncIterator[bytes] | None
            timing, wait = self.timing, self.timing.stall
            if isinstance(content, Stream):
                size, body, wait = content.size, content.start(), timing.accept
            else:
                size, body = len(content or b""), content
            if content is not None:
                send.append((b"Content-Length", str(size).encode()))
            timeouts = {"connect": timing.connect, "read": wait, "write": timing.stall, "pool": POOL_TIMEOUT}
            async with _translated(target), asyncio.timeout(None) as deadline:
                if content is None:  # an upload may take as long as it takes
                    deadline.reschedule(asyncio.get_running_loop().time() + timing.answer)
                request = httpcore.Request(method, target, headers=send, content=body, extensions={"timeout": timeouts})
                raw = await self._connections().handle_async_request(request)
            try:
                response = Response(raw, target, timing)
                location = response.headers.get("location")
                if response.status not in REDIRECTS or not location:
                    yield response
                    return
                try:
                    target = self.url(_joined(target, location))
                except BadAddress as error:  # of the answer, not of the track: the next one may know better
                    raise ServerError(str(error), status=response.status) from None
                if response.status == 303:
                    method, content = "GET", None
            finally:
                await raw.aclose()
        raise ServerError(f"{host_of(url)}: redirects in circles")

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()
            self._pool = None

    def _connections(self) -> httpcore.AsyncConnectionPool:
        if self._pool is None:
            if importlib.util.find_spec("sniffio") is None:
                # httpcore looks for it at every lock and event; to look for a module that is not there takes 60 us.
                sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]
            import httpcore

            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=_LazyContext(),
                max_connections=CONNECTIONS,
                max_keepalive_connections=CONNECTIONS,
                keepalive_expiry=self.timing.keepalive,
            )
        return self._pool


class _LazyContext(ssl.SSLContext):
    """Loads the system's certificates (5 MiB, 20 ms) at the first handshake, so that plain http stays light."""

    def __new__(cls) -> _LazyContext:
        self = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        self._loaded = False
        return self

    _loaded: bool

    def wrap_bio(self, *args: object, **kwargs: object) -> ssl.SSLObject:
        if not self._loaded:
            self._loaded = True
            self.load_default_certs()
        return super().wrap_bio(*args, **kwargs)  # type: ignore[arg-type]


def host_of(url: str) -> str:
    """The part of a URL that may stand in a message: no path, no query (they may carry a signature)."""
    return _netloc(url)


def _joined(base: str, reference: str) -> str:
    """`reference` as seen from `base`; BadAddress when it is no URL."""
    try:
        joined = urljoin(base, reference)
        urlsplit(joined)
    except ValueError:
        raise BadAddress("the server gave a URL that is none") from None
    return joined


def _netloc(url: str) -> str:
    """host[:port] without user information, IDNA-encoded, as a Host header wants it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise BadAddress("the server gave a URL with an impossible host name") from None
    if ":" in host:
        host = f"[{host}]"
    try:
        return f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        raise BadAddress("the server gave a URL with an impossible port") from None


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


@asynccontextmanager
async def _translated(url: str) -> AsyncIterator[None]:
    """httpcore's exceptions as ours; messages name the host only."""
    import httpcore

    try:
        yield
    except ChadboxError:
        raise
    except (httpcore.TimeoutException, TimeoutError):
        raise Offline(f"{host_of(url)} does not answer; check the network and server.url") from None
    except (httpcore.NetworkError, httpcore.ProxyError, OSError) as error:
        if tls := _tls_trouble(error, host_of(url)):
            raise tls from None
        reason = str(error).removeprefix("[Errno ").partition("] ")[2] or str(error) or "the connection broke"
        raise Offline(f"{host_of(url)} cannot be reached: {reason}") from None
    except httpcore.RemoteProtocolError as error:
        raise Offline(f"{host_of(url)} broke off the answer: {error}") from None
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise ServerError(f"{host_of(url)} does not speak HTTP as expected: {error}") from None


_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_... of OpenSSL


def _tls_trouble(error: BaseException, host: str) -> Offline | None:
    """What a failed handshake means for a person; None when it was not TLS that failed."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return Untrusted(f"{host} cannot be talked to securely: {cause.reason or cause}; check server.url")
    today = time.strftime("%Y-%m-%d", time.gmtime())
    if cause.verify_code == _NOT_YET_VALID:
        return ClockUnset(f"the certificate of {host} is not valid yet on {today}, which this box's clock shows")
    if cause.verify_code == _EXPIRED:
        return Untrusted(f"the certificate of {host} has expired (today is {today} for this box)")
    return Untrusted(f"the certificate of {host} is not to be trusted: {cause.verify_message}")
