"""Devices that sign in at the embedded server: codes, tokens that rotate, limits (S1, A3, R4)."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from appliance.errors import NotFound, UsageError
from appliance.server import auth, oauth, signed_in
from appliance.server.signed_in import LETTERS, Lives

from .conftest import TOKEN, Answer, Live

Start = Callable[..., Live]
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
FAST = Lives(access=3600, code=900, interval=0.001)


@pytest.fixture
def server(start: Start) -> Live:
    return start(lives=FAST)


def post(server: Live, route: str, **form: str) -> Answer:
    body = urlencode(form).encode()
    return server.ask("POST", f"/api/v1/{route}", body, None, Content_Type="application/x-www-form-urlencoded")


def poll(server: Live, code: dict[str, Any]) -> Answer:
    time.sleep(server.app.sign_ins.lives.interval)
    return post(server, "device/token", grant_type=GRANT, device_code=code["device_code"], client_id="chadbox")


def refresh(server: Live, token: str) -> Answer:
    return post(server, "token", grant_type="refresh_token", refresh_token=token)


def sign_in(server: Live) -> dict[str, Any]:
    code = post(server, "device/code", client_id="chadbox", device_name="Kitchen").json
    server.app.sign_ins.decide(code["user_code"], approve=True)
    tokens: dict[str, Any] = poll(server, code).json
    return tokens


def let_in(server: Live, token: str) -> bool:
    return server.ask("GET", "/api/v1/stats", token=token).status == 200


def test_a_code_is_approved_and_gives_tokens(server: Live) -> None:
    answer = post(server, "device/code", client_id="chadbox", device_name="Kit\x1b[2Jchen\n")
    code = answer.json
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert re.fullmatch(f"[{LETTERS}]{{4}}-[{LETTERS}]{{4}}", code["user_code"])
    assert not set(LETTERS) & set("AEIOUY0123456789")
    assert code["verification_uri"] == f"http://127.0.0.1:{server.port}/device"
    assert (code["expires_in"], code["interval"]) == (900, 0.001)
    assert (waiting := poll(server, code)).status == 400
    assert waiting.json["error"] == "authorization_pending"
    typed = code["user_code"].lower().replace("-", " ")
    device = server.app.sign_ins.decide(typed, approve=True)
    assert (device.name, device.address) == ("Kit [2Jchen", "127.0.0.1")
    tokens = poll(server, code).json
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)
    assert let_in(server, tokens["access_token"])
    assert server.ask("PATCH", "/api/v1/track/1", {}, token=tokens["access_token"]).status == 404
    assert not let_in(server, tokens["refresh_token"])
    assert not let_in(server, code["device_code"])
    assert let_in(server, TOKEN)
    assert poll(server, code).json["error"] == "invalid_grant"
    assert b"chadbox serve approve" in server.ask("GET", "/device", token=None).body


def test_denied_expired_and_asked_too_often(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(lives=Lives(code=900, interval=0.3))
    code = post(server, "device/code").json
    assert poll(server, code).json["error"] == "authorization_pending"
    assert post(server, "device/token", grant_type=GRANT, device_code=code["device_code"]).json["error"] == "slow_down"
    assert poll(server, code).json["error"] == "authorization_pending"
    server.app.sign_ins.decide(code["user_code"], approve=False)
    assert poll(server, code).json["error"] == "access_denied"
    late = post(server, "device/code").json
    now = time.time()
    monkeypatch.setattr(signed_in.time, "time", lambda: now + 901)
    assert poll(server, late).json["error"] == "expired_token"
    with pytest.raises(NotFound):
        server.app.sign_ins.decide(late["user_code"], approve=True)


def test_an_answer_that_was_lost_is_given_again(server: Live) -> None:
    """The device has the tokens when it uses one, not when they were sent (kill -9 between answer and disk)."""
    code = post(server, "device/code").json
    server.app.sign_ins.decide(code["user_code"], approve=True)
    lost, first = poll(server, code).json, poll(server, code).json
    assert not let_in(server, lost["access_token"])
    assert let_in(server, first["access_token"])
    never_arrived = refresh(server, first["refresh_token"]).json
    second = refresh(server, first["refresh_token"]).json
    assert not let_in(server, never_arrived["access_token"])
    assert let_in(server, first["access_token"]), "requests under way go on with the token that they have"
    assert let_in(server, second["access_token"])
    assert refresh(server, second["refresh_token"]).status == 200


@pytest.mark.parametrize("how", ["access", "refresh"])
def test_a_spent_token_that_comes_back_ends_the_sign_in(
    server: Live, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "RECHECK", 0.0)
    other, stolen = sign_in(server), sign_in(server)
    mine = refresh(server, stolen["refresh_token"]).json
    if how == "access":
        assert let_in(server, mine["access_token"])
    else:
        mine = refresh(server, mine["refresh_token"]).json
    answer = refresh(server, stolen["refresh_token"])
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
    assert not let_in(server, mine["access_token"])
    assert not let_in(server, stolen["access_token"])
    assert refresh(server, mine["refresh_token"]).status == 400
    assert let_in(server, other["access_token"])
    assert len(server.app.sign_ins.devices()) == 1


def test_access_tokens_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(lives=Lives(access=0.4, interval=0.001))
    tokens = sign_in(server)
    assert let_in(server, tokens["access_token"])
    time.sleep(0.4)
    answer = server.ask("GET", "/api/v1/stats", token=tokens["access_token"])
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert let_in(server, refresh(server, tokens["refresh_token"]).json["access_token"])


def test_a_device_is_signed_out(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "RECHECK", 0.05)
    tokens = sign_in(server)
    assert let_in(server, tokens["access_token"])
    (device,) = server.app.sign_ins.devices()
    assert device.name == "Kitchen"
    server.app.sign_ins.revoke(device.id)
    time.sleep(0.06)
    assert not let_in(server, tokens["access_token"])
    assert refresh(server, tokens["refresh_token"]).json["error"] == "invalid_grant"
    with pytest.raises(NotFound):
        server.app.sign_ins.revoke(device.id)


def test_nothing_is_stored_in_clear(server: Live, tmp_path: Path) -> None:
    code = post(server, "device/code").json
    tokens = sign_in(server)
    secrets = [code["device_code"], code["user_code"], code["user_code"].replace("-", ""), TOKEN]
    secrets += [tokens["access_token"], tokens["refresh_token"]]
    for file in (tmp_path / "state").rglob("*"):
        if file.is_file():
            assert not [s for s in secrets if s.encode() in file.read_bytes()], file


def test_limits(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_ins = server.app.sign_ins
    for _ in range(signed_in.MAX_WRONG):
        with pytest.raises(NotFound):
            sign_ins.decide("BBBB-BBBB", approve=True)
    code = post(server, "device/code").json
    with pytest.raises(UsageError, match="wait"):
        sign_ins.decide(code["user_code"], approve=True)
    for _ in range(oauth.CODES - 1):
        assert post(server, "device/code").status == 200
    answer = post(server, "device/code")
    assert (answer.status, answer.headers["retry-after"]) == (429, "60")
    good = post(server, "device/token", grant_type=GRANT, device_code=code["device_code"])
    assert good.json["error"] == "authorization_pending"
    for _ in range(oauth.FAILURES):
        assert refresh(server, "x" * 43).status == 400
    assert refresh(server, "x" * 43).status == 429
    monkeypatch.setattr(signed_in, "MAX_PENDING", 5)
    with pytest.raises(signed_in.Refused):
        sign_ins.begin("one more", "192.0.2.1")


def test_bad_forms(server: Live) -> None:
    for body, status in (
        (b"", 400), (b"\xff", 400), (b"grant_type=password", 400), (b"grant_type=refresh_token", 400),
        (b"&".join(b"a%d=b" % n for n in range(50)), 400), (b"x=" + b"y" * 20_000, 413),
        (b"grant_type=refresh_token&refresh_token=" + b"%F0%9F%8E%B5" * 30, 400),
    ):  # fmt: skip
        answer = server.ask("POST", "/api/v1/token", body, None)
        assert (answer.status, set(answer.json) & {"error"}) == (status, {"error"}), body[:40]
    as_json = server.ask("POST", "/api/v1/device/code", {"client_id": "x"}, None, Content_Type="application/json")
    assert as_json.status == 200
    for body in (b"{", b'{"a": 1}', b"[" * 10_000):
        assert server.ask("POST", "/api/v1/device/code", body, None, Content_Type="application/json").status == 400
    for path in ("/api/v1/device/../stats", "/api/v1/token/../stats", "/device/", "/api/v1/toke%6e", "//device"):
        assert server.ask("GET", path, token=None).status == 401, path


def test_a_database_of_the_version_before_is_brought_up_to_date(start: Start, tmp_path: Path) -> None:
    library = start().get("/api/v1/stats")["library"]
    with sqlite3.connect(tmp_path / "state" / "server.db") as old:
        for table in ("device_code", "sign_in", "token", "wrong_code"):
            old.execute(f"DROP TABLE {table}")
        old.execute("PRAGMA user_version=1")
    old.close()
    server = start(lives=FAST)
    assert server.get("/api/v1/stats")["library"] == library
    assert let_in(server, sign_in(server)["access_token"])
