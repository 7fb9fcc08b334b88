import http.client
import http.server
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.proxy import Proxy

BODY = bytes(range(256)) * 8192  # 2 MiB


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path.startswith("/chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(3):
                self.wfile.write(b"5;x=y\r\nhello\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        if self.path.startswith("/until-close"):
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(BODY)
            return
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()

    def do_POST(self) -> None:
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", str(len(str(size))))
        self.end_headers()
        self.wfile.write(str(size).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def proxy(server: str) -> Iterator[Proxy]:
    with Proxy(server) as proxy:
        yield proxy


def client(proxy: Proxy) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=10)


def exchange(connection: http.client.HTTPConnection, method: str, path: str) -> bytes:
    connection.request(method, path)
    return connection.getresponse().read()


def test_passes_everything_on_and_counts_bodies(proxy: Proxy) -> None:
    connection = client(proxy)
    connection.request("GET", "/music/a%20b.flac?sig=1", headers={"Range": "bytes=0-", "Authorization": "Bearer x"})
    assert connection.getresponse().read() == BODY
    connection.request("HEAD", "/music/a%20b.flac")
    connection.getresponse().read()
    connection.request("GET", "/chunked")
    assert connection.getresponse().read() == b"hello" * 3
    connection.request("POST", "/upload", body=b"x" * 300_000)
    assert connection.getresponse().read() == b"300000"
    connection.request("GET", "/until-close")
    assert connection.getresponse().read() == BODY
    assert proxy.per_path() == {
        "/music/a%20b.flac": len(BODY), "/chunked": 15, "/upload": 6, "/until-close": len(BODY),
    }  # fmt: skip
    assert proxy.body_bytes("/music/") == len(BODY)
    assert proxy.connections == 1
    first = proxy.exchanges[0]
    assert (first.method, first.range, first.status, first.authorized) == ("GET", "bytes=0-", 200, True)
    proxy.forget()
    assert proxy.body_bytes() == 0


def test_delay_is_of_the_line_and_does_not_shrink_it(server: str) -> None:
    with Proxy(server, delay=0.1) as proxy:
        connection = client(proxy)
        began = time.monotonic()
        connection.request("GET", "/")
        answer = connection.getresponse()
        first = time.monotonic() - began
        assert answer.read() == BODY
        whole = time.monotonic() - began
        assert 0.38 <= first < 0.8  # a handshake's round trip and the request's own
        assert whole < 1.5  # 2 MiB in 64 KiB pieces would take 3.2 s if each waited for the one before
        began = time.monotonic()
        connection.request("HEAD", "/")
        connection.getresponse().read()
        assert 0.19 <= time.monotonic() - began < 0.38


@pytest.mark.parametrize("reset", [True, False])
def test_cuts_an_answer_at_a_byte(proxy: Proxy, reset: bool) -> None:
    proxy.cut_after("/music/", 100_000, reset=reset)
    connection = client(proxy)
    connection.request("GET", "/music/a")
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)) as caught:
        connection.getresponse().read()
    if not reset:
        assert isinstance(caught.value, http.client.IncompleteRead)
        assert len(caught.value.partial) == 100_000
    assert proxy.per_path() == {"/music/a": 100_000}
    connection.close()
    connection.request("GET", "/music/a")
    assert connection.getresponse().read() == BODY


def test_refuses_and_accepts_again_at_the_same_port(proxy: Proxy) -> None:
    connection = client(proxy)
    exchange(connection, "HEAD", "/")
    proxy.refuse()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        exchange(connection, "HEAD", "/")
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        connection.request("HEAD", "/")
    proxy.accept()
    connection.close()
    connection.request("GET", "/")
    assert connection.getresponse().read() == BODY
    assert proxy.cut() == 1


def test_a_client_that_goes_away_takes_the_upstream_with_it(proxy: Proxy) -> None:
    for _ in range(5):
        connection = client(proxy)
        connection.request("GET", "/music/a")
        connection.getresponse().read(1000)
        connection.close()
    assert proxy.body_bytes() < 6 * len(BODY)
