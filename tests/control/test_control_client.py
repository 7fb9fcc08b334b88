"""The synchronous client against peers that are absent, silent, hostile or slow."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.control.client import Client, Refused
from appliance.errors import ChadboxError, NotRunning

Peer = Callable[[socket.socket], None]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Callable[[Peer], Client]]:
    """A client of a socket at which `behave(connection)` answers once the request has come."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen(1)
    stop = threading.Event()
    threads = []

    def start(behave: Peer) -> Client:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                try:
                    behave(connection)
                except OSError:
                    return
                stop.wait(10)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return Client(str(tmp_path / "s"), timeout=0.8)

    yield start
    stop.set()
    for thread in threads:
        thread.join(10)
    listener.close()


def says(*docs: object) -> Peer:
    return lambda connection: connection.sendall(b"".join(json.dumps(doc).encode() + b"\n" for doc in docs))


def test_the_result_comes_after_progress_and_unknown_lines(peer: Callable[[Peer], Client]) -> None:
    seen: list[object] = []
    client = peer(says({"alive": True}, {"progress": {"percent": 1}}, {"later": 1}, {"ok": [1, "Ж"]}))
    assert client.call("fetch", {"what": "x"}, seen.append) == [1, "Ж"]
    assert seen == [{"percent": 1}]


def test_a_large_answer_in_small_pieces(peer: Callable[[Peer], Client]) -> None:
    items = [{"track": {"title": "x" * 50}} for _ in range(30_000)]
    begun = time.monotonic()
    assert peer(says({"ok": items})).call("queue") == items
    assert time.monotonic() - begun < 2


def test_an_error_keeps_code_and_exit(peer: Callable[[Peer], Client]) -> None:
    client = peer(says({"error": {"code": "not_found", "message": "no such", "exit": 1}}))
    with pytest.raises(Refused, match="no such") as caught:
        client.call("play")
    assert (caught.value.code, caught.value.exit_code) == ("not_found", 1)


@pytest.mark.parametrize("error", [5, None, {}, {"exit": 0}, {"exit": "x", "message": ["y"]}, {"exit": 9999}])
def test_an_error_of_any_shape_is_an_error(peer: Callable[[Peer], Client], error: object) -> None:
    with pytest.raises(Refused) as caught:
        peer(says({"error": error})).call("play")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b]0;evil\x07" * 100_000,
        b"HTTP/1.1 400 Bad Request\r\n",
        b"[1]\n",
        b"{}}\n",
        b'{"ok": NaN}\n',
        b"[" * 100_000 + b"\n",
    ],
    ids=["megabyte", "http", "array", "broken", "nan", "deep"],
)
def test_garbage_is_one_clear_error(peer: Callable[[Peer], Client], data: bytes) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    with pytest.raises(ChadboxError, match="does not speak as the player does"):
        peer(behave).call("status")


def test_garbage_without_end_is_given_up(peer: Callable[[Peer], Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.control.client.MAX_ANSWER", 1 << 20)

    def behave(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"x" * 65536)

    with pytest.raises(ChadboxError, match="does not speak"):
        peer(behave).call("status")


def test_silence_is_given_up_but_a_long_command_is_not(peer: Callable[[Peer], Client]) -> None:
    with pytest.raises(ChadboxError, match="does not answer") as caught:
        peer(lambda _: None).call("status")
    assert not isinstance(caught.value, NotRunning)

    def slow(connection: socket.socket) -> None:
        for _ in range(16):  # twice the time-out
            time.sleep(0.1)
            connection.sendall(b'{"alive": true}\n')
        connection.sendall(b'{"ok": 1}\n')

    assert peer(slow).call("sync") == 1


def test_a_full_backlog_is_waited_for_then_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "full"))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(str(tmp_path / "full"))
            with pytest.raises(ChadboxError, match="does not answer"):
                Client(str(tmp_path / "full"), 0.2).call("status")


@pytest.mark.parametrize("data", [b"", b'{"progress": {"percent": 1}}\n', b'{"ok": tru'])
def test_a_player_that_stops_is_not_running(peer: Callable[[Peer], Client], data: bytes) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    with pytest.raises(NotRunning, match="stopped before it answered"):
        peer(behave).call("sync")


def test_no_player_no_socket_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    for path in ("none", "dir/none", "file/none", "dead", "file"):
        with pytest.raises(NotRunning, match="chadbox run"):
            Client(str(tmp_path / path)).call("status")
    with pytest.raises(ChadboxError, match="cannot be used"):
        Client("x" * 300).call("status")


def test_watch_yields_events_and_ticks(peer: Callable[[Peer], Client]) -> None:
    watching = peer(says({"event": {"n": 1}}, {"alive": True}, {"event": {"n": 2}})).watch(tick=0.05)
    assert [next(watching), next(watching), next(watching)] == [{"n": 1}, {"n": 2}, None]
    with pytest.raises(ChadboxError, match="does not answer"):
        list(watching)
