-- Sign-in of devices (RFC 8628). Codes and tokens are 256 random bits, or 8 letters that live for minutes; only their
-- SHA-256 is kept. `sign_in` NULL: nobody has approved the code yet.
CREATE TABLE device_code (
    device BLOB PRIMARY KEY, user BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'approved', 'denied')),
    name TEXT NOT NULL, address TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL,
    sign_in INTEGER
) WITHOUT ROWID;

-- One device that was let in. Its tokens come in generations: `generation` is the newest that was given out, `confirmed`
-- the newest that the device is known to have, because it used it.
CREATE TABLE sign_in (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,
    created REAL NOT NULL, used REAL NOT NULL, ended REAL,
    generation INTEGER NOT NULL DEFAULT 0, confirmed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE token (
    digest BLOB PRIMARY KEY, sign_in INTEGER NOT NULL, generation INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('access', 'refresh')),
    expires REAL                                    -- of access tokens; a refresh token lives until it is replaced
) WITHOUT ROWID;
CREATE INDEX token_sign_in ON token (sign_in, generation);

CREATE TABLE wrong_code (at REAL NOT NULL);         -- codes typed that nobody waits with
