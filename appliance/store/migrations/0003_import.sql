-- Music of drives on its way to the server (C10). path: the bytes of its name below the drive's root. What was read of
-- a file holds as long as its size and date do. job is that which dealt with it last; final: asking again is no use.
CREATE TABLE import_file (
    drive TEXT NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    sha256 TEXT, duration REAL NOT NULL DEFAULT 0, artist TEXT, title TEXT,
    library TEXT NOT NULL, job INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'uploading', 'done', 'duplicate', 'failed')),
    sent INTEGER NOT NULL DEFAULT 0, reason TEXT, final INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (drive, path)
) WITHOUT ROWID;
CREATE INDEX import_file_job ON import_file (job);
