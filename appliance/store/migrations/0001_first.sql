-- Facts that are one value: library id, sequence, counters, transport state. Values are JSON.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- The library as the server tells it. track_id is the server's id as text; int_id says that it was a number.
CREATE TABLE track (
    id INTEGER PRIMARY KEY,
    track_id TEXT NOT NULL UNIQUE,
    int_id INTEGER NOT NULL DEFAULT 0,
    album_id TEXT, int_album_id INTEGER NOT NULL DEFAULT 0,
    album_n INTEGER NOT NULL DEFAULT 0,             -- album.id; every track has one, see below
    title TEXT NOT NULL DEFAULT '', artist TEXT NOT NULL DEFAULT '', album TEXT NOT NULL DEFAULT '',
    album_artist TEXT, disc INTEGER, no INTEGER, year INTEGER,
    genre TEXT, publisher TEXT, country TEXT, type TEXT, status TEXT,
    duration REAL NOT NULL DEFAULT 0, samples INTEGER, sample_rate INTEGER,
    size INTEGER, mime TEXT, etag TEXT, sha256 TEXT,
    lufs REAL, true_peak REAL, album_lufs REAL, album_true_peak REAL,
    seq INTEGER, url TEXT NOT NULL DEFAULT ''
);
CREATE INDEX track_album ON track (album_n, disc, no, id);

-- Albums, made from the tracks. album_id is the server's id as text; tracks without one are grouped under
-- "~ARTIST/ALBUM". sort is NULL until the album was settled (its tracks counted, its facets known).
CREATE TABLE album (
    id INTEGER PRIMARY KEY,
    album_id TEXT NOT NULL UNIQUE, int_id INTEGER NOT NULL DEFAULT 0,
    name TEXT NOT NULL DEFAULT '', artist TEXT NOT NULL DEFAULT '', year INTEGER,
    tracks INTEGER NOT NULL DEFAULT 0, sort TEXT
);
CREATE INDEX album_sort ON album (sort);

-- Values to browse by, with counts: artist, year, publisher, country, genre, type, status.
CREATE TABLE facet (
    id INTEGER PRIMARY KEY,
    category TEXT NOT NULL, value TEXT NOT NULL, sort TEXT NOT NULL,
    tracks INTEGER NOT NULL DEFAULT 0, albums INTEGER NOT NULL DEFAULT 0,
    UNIQUE (category, value)
);
CREATE INDEX facet_sort ON facet (category, sort, value);
CREATE TABLE album_facet (
    facet INTEGER NOT NULL, album INTEGER NOT NULL, tracks INTEGER NOT NULL, PRIMARY KEY (facet, album)
) WITHOUT ROWID;
CREATE INDEX album_facet_album ON album_facet (album);

-- Albums whose tracks changed since they were settled; tracks seen by the full resync that is under way.
CREATE TABLE album_dirty (id INTEGER PRIMARY KEY);
CREATE TABLE sync_seen (id INTEGER PRIMARY KEY);

-- Words to search for. The text is folded and cut into tokens before it gets here, so the plainest tokenizer will do;
-- a token that begins with ^ is a whole title without its spaces. Row ids: track.id, album.id, facet.id of an artist.
CREATE VIRTUAL TABLE track_fts USING fts5
    (t, content='', detail=none, columnsize=0, prefix='1 2 3 4 5', tokenize="ascii tokenchars '^'");
CREATE VIRTUAL TABLE album_fts USING fts5
    (t, content='', detail=none, columnsize=0, prefix='1 2 3 4 5', tokenize="ascii tokenchars '^'");
CREATE VIRTUAL TABLE artist_fts USING fts5
    (t, content='', detail=none, columnsize=0, prefix='1 2 3 4 5', tokenize="ascii tokenchars '^'");

-- Bytes of audio on this box. The file's name is its id; version is the strong ETag, else SHA-256, else size and date.
CREATE TABLE cache_file (
    id INTEGER PRIMARY KEY,
    library TEXT NOT NULL, track_id TEXT NOT NULL, version TEXT NOT NULL,
    size INTEGER,                                   -- of the whole file; NULL while the server has not told
    ranges BLOB NOT NULL DEFAULT x'',               -- synced bytes: pairs of little-endian int64, [start, stop)
    bytes INTEGER NOT NULL DEFAULT 0,               -- sum of ranges
    complete INTEGER NOT NULL DEFAULT 0,
    etag TEXT,                                      -- what the answers said of their version: etag:"..." or date:...
    sha256 TEXT,                                    -- of the whole file, taken when it became complete
    created REAL NOT NULL, last_used REAL NOT NULL, -- Unix time, seconds
    UNIQUE (library, track_id, version)
);
CREATE INDEX cache_file_used ON cache_file (last_used);
CREATE TABLE pin (library TEXT NOT NULL, track_id TEXT NOT NULL, PRIMARY KEY (library, track_id)) WITHOUT ROWID;

-- The queue: ord is the place in the list, rnd the place when shuffled; both leave gaps to insert between.
CREATE TABLE queue_item (id INTEGER PRIMARY KEY, track_id TEXT NOT NULL, ord REAL NOT NULL, rnd REAL NOT NULL);
CREATE INDEX queue_item_ord ON queue_item (ord);

-- Durable background work (R5).
CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL, args TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    progress INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0,
    error TEXT, not_before REAL NOT NULL DEFAULT 0, created REAL NOT NULL, updated REAL NOT NULL,
    key TEXT,                                       -- of two live jobs of a kind with one key, the second is not made
    interrupted INTEGER NOT NULL DEFAULT 0          -- times the process died under it since it last got on
);
CREATE INDEX job_state ON job (state, not_before);
CREATE UNIQUE INDEX job_key ON job (kind, key) WHERE key IS NOT NULL AND state IN ('queued', 'running');

-- What was heard, in the order n. played_at is Unix time, NULL when the clock was not known to be right.
CREATE TABLE play (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE, library TEXT NOT NULL, track_id TEXT NOT NULL,
    played_at REAL, seconds REAL NOT NULL, reported INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX play_track ON play (library, track_id);
CREATE INDEX play_unreported ON play (n) WHERE reported = 0;

-- Sums over `play`: plays counts those that were long enough, last is the newest play.n.
CREATE TABLE playcount (
    library TEXT NOT NULL, track_id TEXT NOT NULL,
    plays INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0, last INTEGER NOT NULL,
    PRIMARY KEY (library, track_id)
) WITHOUT ROWID;
CREATE INDEX playcount_last ON playcount (library, last);

CREATE TABLE favourite (
    n INTEGER PRIMARY KEY, library TEXT NOT NULL, track_id TEXT NOT NULL, UNIQUE (library, track_id)
);
CREATE TABLE playlist (
    id INTEGER PRIMARY KEY, library TEXT NOT NULL, name TEXT NOT NULL, sort TEXT NOT NULL, UNIQUE (library, name)
);
CREATE TABLE playlist_item (
    playlist INTEGER NOT NULL REFERENCES playlist (id) ON DELETE CASCADE, ord INTEGER NOT NULL, track_id TEXT NOT NULL,
    PRIMARY KEY (playlist, ord)
) WITHOUT ROWID;
