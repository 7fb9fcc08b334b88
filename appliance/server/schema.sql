-- The embedded server's own database. Paths and file names are the bytes of the file system.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE root (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE);
CREATE TABLE folder (
    id INTEGER PRIMARY KEY, root_id INTEGER NOT NULL, path BLOB NOT NULL, UNIQUE (root_id, path)
);
CREATE TABLE album (
    id INTEGER PRIMARY KEY AUTOINCREMENT,           -- never used twice
    key TEXT NOT NULL UNIQUE,                       -- root, folder, title, album artist
    title TEXT NOT NULL, album_artist TEXT,         -- as tagged
    artist TEXT NOT NULL DEFAULT '', year INTEGER   -- as shown: derived from the tracks
);

-- A row with deleted_at is a tombstone, kept 30 days. seq is that of the last change; first_seq never changes;
-- added_seq is that of the last time the track came into being (again).
CREATE TABLE track (
    id INTEGER PRIMARY KEY AUTOINCREMENT,           -- never used twice
    seq INTEGER NOT NULL, first_seq INTEGER NOT NULL, added_seq INTEGER NOT NULL, deleted_at REAL,
    folder_id INTEGER NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    content INTEGER NOT NULL,                       -- hash of size and tags: finds a file again after a rename
    album_id INTEGER NOT NULL,
    title TEXT NOT NULL, artist TEXT NOT NULL, album TEXT NOT NULL, album_artist TEXT,
    disc INTEGER, no INTEGER, year INTEGER, genre TEXT, publisher TEXT, country TEXT, type TEXT, status TEXT,
    duration REAL NOT NULL, samples INTEGER, sample_rate INTEGER,
    mime TEXT NOT NULL, sha256 TEXT,
    lufs REAL, true_peak REAL, album_lufs REAL, album_true_peak REAL,
    url TEXT NOT NULL,
    overlay TEXT                                    -- JSON of the fields that PATCH set; outlives every rescan
);
CREATE UNIQUE INDEX track_seq ON track (seq);
CREATE UNIQUE INDEX track_file ON track (folder_id, name) WHERE deleted_at IS NULL;
CREATE INDEX track_album ON track (album_id, disc, no);
CREATE INDEX track_artist ON track (artist, album_id) WHERE deleted_at IS NULL;
CREATE INDEX track_content ON track (content);
CREATE INDEX track_sha256 ON track (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX track_unhashed ON track (id) WHERE sha256 IS NULL AND deleted_at IS NULL;
CREATE INDEX track_deleted ON track (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX track_unhashed_size ON track (size) WHERE sha256 IS NULL AND deleted_at IS NULL;

CREATE VIEW live AS SELECT * FROM track WHERE deleted_at IS NULL;
CREATE VIRTUAL TABLE words USING fts5 (
    title, artist, album, album_artist, content='live', content_rowid='id', tokenize="unicode61 remove_diacritics 2"
);
CREATE TRIGGER words_insert AFTER INSERT ON track WHEN new.deleted_at IS NULL BEGIN
    INSERT INTO words (rowid, title, artist, album, album_artist)
    VALUES (new.id, new.title, new.artist, new.album, new.album_artist);
END;
CREATE TRIGGER words_out BEFORE UPDATE OF title, artist, album, album_artist, deleted_at ON track
WHEN old.deleted_at IS NULL AND (new.deleted_at IS NOT NULL OR new.title <> old.title OR new.artist <> old.artist
    OR new.album <> old.album OR new.album_artist IS NOT old.album_artist) BEGIN
    INSERT INTO words (words, rowid, title, artist, album, album_artist)
    VALUES ('delete', old.id, old.title, old.artist, old.album, old.album_artist);
END;
CREATE TRIGGER words_in AFTER UPDATE OF title, artist, album, album_artist, deleted_at ON track
WHEN new.deleted_at IS NULL AND (old.deleted_at IS NOT NULL OR new.title <> old.title OR new.artist <> old.artist
    OR new.album <> old.album OR new.album_artist IS NOT old.album_artist) BEGIN
    INSERT INTO words (rowid, title, artist, album, album_artist)
    VALUES (new.id, new.title, new.artist, new.album, new.album_artist);
END;

CREATE TABLE play (
    id TEXT PRIMARY KEY, track_id TEXT NOT NULL, played_at REAL, seconds REAL NOT NULL, received REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX play_track ON play (track_id);

CREATE TABLE idempotency (
    key TEXT PRIMARY KEY, sha256 TEXT NOT NULL, track_id INTEGER NOT NULL, created REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    progress INTEGER NOT NULL DEFAULT 0, error TEXT, created REAL NOT NULL, updated REAL NOT NULL
);
