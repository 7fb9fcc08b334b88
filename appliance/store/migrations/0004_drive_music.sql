-- Music of drives that the server does not have (C8). path: the bytes of its name below the drive's root. What was read
-- of a file holds as long as its size and date do; row is the track as JSON, NULL where there is none to be had. shown: it
-- is in `track` now, because its drive is plugged in.
CREATE TABLE drive_file (
    drive TEXT NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    track_id TEXT NOT NULL UNIQUE, row BLOB, shown INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (drive, path)
) WITHOUT ROWID;
CREATE INDEX drive_file_shown ON drive_file (drive) WHERE shown = 1;
