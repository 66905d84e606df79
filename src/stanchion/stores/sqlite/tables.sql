-- Limits, the key book and the caller book.  Times are seconds; see rules/meter.py for what a meter's columns mean.
CREATE TABLE IF NOT EXISTS meter (
    name TEXT PRIMARY KEY, born_at REAL NOT NULL, full_at REAL NOT NULL, booked_s REAL NOT NULL,
    idle_at REAL NOT NULL, synced_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slot (
    name TEXT NOT NULL, holder TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (name, holder)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS member (
    circle TEXT NOT NULL, name TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (circle, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pepper (one INTEGER PRIMARY KEY CHECK (one = 1), bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS key_report (
    key TEXT NOT NULL, replica TEXT NOT NULL, at REAL NOT NULL, report BLOB NOT NULL, PRIMARY KEY (key, replica)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS key_order (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, told BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS caller_book (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS caller_entry (
    kind TEXT NOT NULL, name TEXT NOT NULL, entry BLOB NOT NULL, PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cache (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, size INTEGER NOT NULL, until REAL NOT NULL, used_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS cache_until ON cache (until);
CREATE INDEX IF NOT EXISTS cache_used_at ON cache (used_at, size);
CREATE TABLE IF NOT EXISTS cache_size (one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL);
INSERT OR IGNORE INTO cache_size VALUES (1, 0);
CREATE TABLE IF NOT EXISTS purse (
    name TEXT PRIMARY KEY, born_at REAL NOT NULL, spent INTEGER NOT NULL, held INTEGER NOT NULL,
    keep_until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lease (
    purse TEXT NOT NULL, holder TEXT NOT NULL, amount INTEGER NOT NULL, sure INTEGER NOT NULL, dead INTEGER NOT NULL,
    until REAL NOT NULL, PRIMARY KEY (purse, holder)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lease_until ON lease (purse, until);
