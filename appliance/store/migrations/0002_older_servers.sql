-- Albums of a server that has only the older API, as its album list told them. `row` is JSON with what the list says
-- of the album, `print` a hash of the list's own words. state: 0 to be asked for, 1 asked, 2 not in the list any more.
CREATE TABLE crawl_album (
    n INTEGER PRIMARY KEY,
    album_id TEXT NOT NULL UNIQUE, int_id INTEGER NOT NULL DEFAULT 0,
    row TEXT NOT NULL DEFAULT '{}', print BLOB NOT NULL, state INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX crawl_album_state ON crawl_album (state, n) WHERE state <> 1;
