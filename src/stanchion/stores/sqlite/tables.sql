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
