-- The caller book: one row per team, caller and key; never a key itself.
CREATE TABLE IF NOT EXISTS stanchion_caller_book (one int PRIMARY KEY CHECK (one = 1), version bigint NOT NULL);
CREATE TABLE IF NOT EXISTS stanchion_caller_entry (
    kind text NOT NULL, name text NOT NULL, entry text NOT NULL, PRIMARY KEY (kind, name)
);

-- Returns version, pepper and all entries as one state of the book; no row if it is at the version that is known.
CREATE OR REPLACE FUNCTION stanchion_callers_1(known bigint) RETURNS TABLE (
    version bigint, pepper bytea, entries text[]
) LANGUAGE sql STABLE AS $$
    SELECT v.version, (SELECT bytes FROM stanchion_pepper),
        coalesce((SELECT array_agg(e.entry ORDER BY e.kind, e.name) FROM stanchion_caller_entry AS e), '{}')
    FROM (SELECT coalesce((SELECT b.version FROM stanchion_caller_book AS b), 0) AS version) AS v
    WHERE v.version <> known
$$;

-- Writes entries if the book is at that version, one writer after another; says whether it did.
CREATE OR REPLACE FUNCTION stanchion_callers_write_1(kinds text[], names text[], told text[], expected bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM stanchion_lock_1(ARRAY['stanchion callers']);
    IF coalesce((SELECT version FROM stanchion_caller_book), 0) <> expected THEN
        RETURN false;
    END IF;
    INSERT INTO stanchion_caller_entry
        SELECT kind, name, entry FROM unnest(kinds, names, told) AS t (kind, name, entry)
    ON CONFLICT (kind, name) DO UPDATE SET entry = excluded.entry;
    INSERT INTO stanchion_caller_book VALUES (1, expected + 1)
    ON CONFLICT (one) DO UPDATE SET version = excluded.version;
    RETURN true;
END
$$;
