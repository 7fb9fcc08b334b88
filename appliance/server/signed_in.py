"""Devices that were let in: codes that wait for approval, and the tokens of those that have it (A3, S1).

Refresh tokens rotate, and a used one that comes back means that two have it: that sign-in ends. But an answer may be
lost, or the device lose power before it has stored it; so the token before stays good until the device shows that it
has the new ones, by using one of them:

    refresh with           confirmed = 3, generation = 3      3 is spent, 4 is given out
    refresh with 3 again   confirmed = 3, generation = 4      answer 4 was lost: 5 is given out, 4 is void
    a request with 5       confirmed = 5, generation = 5      from now on 3 is a token that comes back
    refresh with 3 or 4    the sign-in ends

Everything here blocks and is one transaction each.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from hmac import compare_digest

from msgspec import Struct

from appliance.errors import NotFound, UsageError
from appliance.server.db import Database, Tx
from appliance.server.text import clean

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628, 6.1: no vowels, so no words, and nothing that looks like another
CODE_LETTERS = 8  # 34 bits
MAX_PENDING = 100  # codes that wait at once
MAX_WRONG, WRONG_WINDOW = 10, 600.0  # wrong codes in so many seconds, then nobody may try
KEPT = 200  # generations back in which a token that comes back is known as such


class Lives(Struct, frozen=True):
    """Seconds that an access token and a code live, and between two questions of a device that waits."""

    access: float = 3600.0
    code: float = 900.0
    interval: float = 5.0


class Given(Struct):
    """A new pair of tokens; `expires_in` seconds is the life of the access token."""

    access: str
    refresh: str
    expires_in: float

    def __repr__(self) -> str:
        return "Given(...)"


class Code(Struct):
    """What a device gets to start with; `user` is for people to read, XXXX-XXXX."""

    device: str
    user: str

    def __repr__(self) -> str:
        return "Code(...)"


class Device(Struct):
    """A device that waits, or was let in; times are Unix time."""

    id: int
    name: str
    address: str
    created: float
    used: float


class Refused(Exception):
    """An OAuth error; `code` is its word (RFC 6749, 5.2 and RFC 8628, 3.5)."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class SignIns:
    """The tables `device_code`, `sign_in` and `token`."""

    def __init__(self, database: Database, lives: Lives | None = None) -> None:
        self._db = database
        self.lives = lives or Lives()

    # A device asks ---------------------------------------------------------------------------------------------------

    def begin(self, name: str, address: str) -> Code:
        """A new code. Raises Refused when too many wait already."""
        now = time.time()
        with self._db.write() as tx:
            tx.sql.execute("DELETE FROM device_code WHERE expires <= ?", (now,))
            if tx.sql.execute("SELECT count(*) FROM device_code").fetchone()[0] >= MAX_PENDING:
                raise Refused("slow_down", "too many sign-ins wait for approval; try again in some minutes")
            letters = "".join(secrets.choice(LETTERS) for _ in range(CODE_LETTERS))
            code = Code(secrets.token_urlsafe(32), f"{letters[:4]}-{letters[4:]}")
            tx.sql.execute(
                "INSERT INTO device_code (device, user, name, address, created, expires) VALUES (?, ?, ?, ?, ?, ?)",
                (_digest(code.device), _digest(letters), clean(name)[:60], address, now, now + self.lives.code),
            )
        return code

    def claim(self, device: str) -> Given:
        """The tokens of an approved code; again, too, until one was used. Raises Refused while there are none."""
        now, digest = time.time(), _digest(device)
        row = self._db.reader.execute(
            "SELECT device, state, expires FROM device_code WHERE device = ?", (digest,)
        ).fetchone()
        if row is None or not compare_digest(row[0], digest):
            raise Refused("invalid_grant", "there is no such code, or it has been used")
        if row[2] <= now:
            raise Refused("expired_token", "the code has expired; begin again")
        if row[1] != "approved":
            word = "access_denied" if row[1] == "denied" else "authorization_pending"
            raise Refused(word, "the owner of the server has not approved this code")
        with self._db.write() as tx:
            found = tx.sql.execute("SELECT name, sign_in FROM device_code WHERE device = ?", (digest,)).fetchone()
            if found is None:
                raise Refused("invalid_grant", "the code has been used")
            name, sign_in = found
            if sign_in is None:
                sql = "INSERT INTO sign_in (name, created, used) VALUES (?, ?, ?)"
                sign_in = int(tx.sql.execute(sql, (name, now, now)).lastrowid or 0)
                tx.sql.execute("UPDATE device_code SET sign_in = ? WHERE device = ?", (sign_in, digest))
            return self._issue(tx, sign_in, now)

    def refresh(self, token: str) -> Given:
        """New tokens for a refresh token. Raises Refused; a token that comes back ends its sign-in."""
        now, digest = time.time(), _digest(token)
        with self._db.write() as tx:
            row = tx.sql.execute(
                """SELECT t.digest, t.sign_in, t.generation, s.generation, s.confirmed FROM token t
                JOIN sign_in s ON s.id = t.sign_in WHERE t.digest = ? AND t.kind = 'refresh' AND s.ended IS NULL""",
                (digest,),
            ).fetchone()
            if row is not None and compare_digest(row[0], digest):
                _, sign_in, generation, newest, confirmed = row
                if generation in (newest, confirmed):
                    self._confirm(tx, sign_in, generation)
                    return self._issue(tx, sign_in, now)
                _end(tx.sql, sign_in, now)
        raise Refused("invalid_grant", "the refresh token is not, or no longer, good; sign in again")

    def good_until(self, digest: bytes) -> float | None:
        """Unix time until which the access token with this SHA-256 lets its bearer in; None when it does not."""
        row = self._db.reader.execute(
            """SELECT t.digest, t.expires, t.sign_in, t.generation, s.confirmed FROM token t
            JOIN sign_in s ON s.id = t.sign_in
            WHERE t.digest = ? AND t.kind = 'access' AND t.expires > ? AND s.ended IS NULL""",
            (digest, time.time()),
        ).fetchone()
        if row is None or not compare_digest(row[0], digest):
            return None
        if row[3] > row[4]:
            with self._db.write() as tx:
                if not tx.sql.execute("SELECT 1 FROM token WHERE digest = ?", (digest,)).fetchone():
                    return None  # voided meanwhile
                self._confirm(tx, row[2], row[3])
        return float(row[1])

    def _confirm(self, tx: Tx, sign_in: int, generation: int) -> None:
        """The device has the tokens of `generation`: those before are spent, and its code is."""
        tx.sql.execute("UPDATE sign_in SET confirmed = max(confirmed, ?) WHERE id = ?", (generation, sign_in))
        tx.sql.execute("DELETE FROM device_code WHERE sign_in = ?", (sign_in,))

    def _issue(self, tx: Tx, sign_in: int, now: float) -> Given:
        """The next generation; what was given out after the confirmed one was lost and is void."""
        sql = "UPDATE sign_in SET generation = generation + 1, used = ? WHERE id = ? RETURNING generation, confirmed"
        generation, confirmed = tx.sql.execute(sql, (now, sign_in)).fetchone()
        tx.sql.execute(
            "DELETE FROM token WHERE sign_in = ? "
            "AND (generation < ? OR kind = 'access' AND (generation > ? OR expires < ?))",
            (sign_in, generation - KEPT, confirmed, now),
        )
        given = Given(secrets.token_urlsafe(32), secrets.token_urlsafe(32), self.lives.access)
        tx.sql.executemany(
            "INSERT INTO token VALUES (?, ?, ?, ?, ?)",
            [
                (_digest(given.access), sign_in, generation, "access", now + self.lives.access),
                (_digest(given.refresh), sign_in, generation, "refresh", None),
            ],
        )
        return given

    # The owner answers -----------------------------------------------------------------------------------------------

    def decide(self, code: str, *, approve: bool) -> Device:
        """Approve or deny the code that a person typed; small letters, spaces and dashes do not matter.

        Raises NotFound for a code that nobody waits with, and UsageError after too many of those.
        """
        now = time.time()
        with self._db.write() as tx:
            tx.sql.execute("DELETE FROM wrong_code WHERE at <= ? OR at > ?", (now - WRONG_WINDOW, now))
            (wrong,) = tx.sql.execute("SELECT count(*) FROM wrong_code").fetchone()
            row = None
            if wrong < MAX_WRONG:
                row = tx.sql.execute(
                    "UPDATE device_code SET state = ? WHERE user = ? AND expires > ? AND state = 'pending' "
                    "RETURNING name, address, created",
                    ("approved" if approve else "denied", code_digest(code), now),
                ).fetchone()
                if row is None:
                    tx.sql.execute("INSERT INTO wrong_code VALUES (?)", (now,))
        if wrong >= MAX_WRONG:
            raise UsageError("too many wrong codes; wait ten minutes")
        if row is None:
            raise NotFound("nobody waits with this code; it may have expired: see what the box shows now")
        return Device(0, row[0], row[1], row[2], 0.0)

    def devices(self) -> list[Device]:
        """Those that are signed in."""
        rows = self._db.reader.execute(
            "SELECT id, name, '', created, used FROM sign_in WHERE ended IS NULL ORDER BY id"
        )
        return [Device(*row) for row in rows]

    def revoke(self, sign_in: int) -> None:
        """Sign a device out. Raises NotFound."""
        with self._db.write() as tx:
            if not _end(tx.sql, sign_in, time.time()):
                raise NotFound(f"no device {sign_in} is signed in; `chadbox serve devices` lists them")


def _end(sql: sqlite3.Connection, sign_in: int, now: float) -> bool:
    sql.execute("DELETE FROM token WHERE sign_in = ? AND kind = 'access'", (sign_in,))
    return sql.execute("UPDATE sign_in SET ended = ? WHERE id = ? AND ended IS NULL", (now, sign_in)).rowcount > 0


def code_digest(code: str) -> bytes:
    """What is stored of a code as a person types it."""
    return _digest("".join(c for c in code.upper() if c.isalnum()))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
