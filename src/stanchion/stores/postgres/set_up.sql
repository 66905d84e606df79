-- Tables and functions of limits and of the key book.  Times are seconds, amounts of meters too.
-- What is worth nothing after a crash is UNLOGGED: it is never written to the write-ahead log.
CREATE UNLOGGED TABLE IF NOT EXISTS stanchion_meter (
    name text PRIMARY KEY, born_at float8 NOT NULL, full_at float8 NOT NULL, booked_s float8 NOT NULL,
    idle_at float8 NOT NULL, synced_at float8 NOT NULL
) WITH (fillfactor = 50);  -- room to change a row in place
CREATE UNLOGGED TABLE IF NOT EXISTS stanchion_slot (
    name text NOT NULL, holder text NOT NULL, until float8 NOT NULL, PRIMARY KEY (name, holder)
) WITH (fillfactor = 50);
CREATE UNLOGGED TABLE IF NOT EXISTS stanchion_member (
    circle text NOT NULL, name text NOT NULL, until float8 NOT NULL, PRIMARY KEY (circle, name)
);
CREATE TABLE IF NOT EXISTS stanchion_pepper (one int PRIMARY KEY CHECK (one = 1), bytes bytea NOT NULL);
CREATE TABLE IF NOT EXISTS stanchion_key_report (
    key text NOT NULL, replica text NOT NULL, at float8 NOT NULL, report text NOT NULL, PRIMARY KEY (key, replica)
);
CREATE TABLE IF NOT EXISTS stanchion_key_order (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at float8 NOT NULL, told text NOT NULL
);

-- Seconds since 2026-01-01 UTC: smaller numbers leave a double more digits.
CREATE OR REPLACE FUNCTION stanchion_now_1() RETURNS float8 LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) - 1767225600)::float8
$$;

-- One step at a time for each name, until the transaction ends.  In the order of the numbers, so that two
-- steps over the same names never wait for each other.
CREATE OR REPLACE FUNCTION stanchion_lock_1(names text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    FOR number IN SELECT DISTINCT hashtextextended(name, 20260101) FROM unnest(names) AS name ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(number);
    END LOOP;
END
$$;

-- Takes all that is wanted, or nothing.  Says what rules/meter.py says; see there why.
-- Returns wait, now, then the depth of each meter, then what was booked on each.
CREATE OR REPLACE FUNCTION stanchion_take_1(
    meters text[], costs float8[], rooms float8[], slots text[], mosts int[], ttls float8[], who text
) RETURNS float8[] LANGUAGE plpgsql AS $$
DECLARE
    near CONSTANT float8 := 1e-6;
    now_s float8;
    wait float8 := 0;
    depth float8;
    over_s float8;
    full_ats float8[] := '{}';
    bookeds float8[] := '{}';
    depths float8[] := '{}';
    kept stanchion_meter;
    here bigint;
    first float8;
    mine boolean;
BEGIN
    PERFORM stanchion_lock_1(meters || slots);
    now_s := stanchion_now_1();
    FOR i IN 1 .. cardinality(meters) LOOP
        SELECT * INTO kept FROM stanchion_meter WHERE name = meters[i];
        full_ats[i] := coalesce(kept.full_at, 0);
        bookeds[i] := coalesce(kept.booked_s, 0);
        depth := greatest(0, full_ats[i] - now_s);
        over_s := CASE WHEN costs[i] > rooms[i] THEN depth ELSE depth + costs[i] - rooms[i] END;
        IF over_s > near THEN wait := greatest(wait, over_s); END IF;
    END LOOP;
    FOR i IN 1 .. cardinality(slots) LOOP
        SELECT count(*), min(until), coalesce(bool_or(holder = who), false) INTO here, first, mine
            FROM stanchion_slot WHERE name = slots[i] AND until > now_s;
        IF mosts[i] <= 0 THEN
            wait := 'infinity';
        ELSIF here >= mosts[i] AND NOT mine THEN
            wait := greatest(wait, first - now_s, 0.001);
        END IF;
    END LOOP;

    IF wait = 0 THEN
        FOR i IN 1 .. cardinality(meters) LOOP
            INSERT INTO stanchion_meter AS m VALUES (meters[i], now_s, now_s + costs[i], costs[i], now_s, 0)
            ON CONFLICT (name) DO UPDATE SET
                full_at = greatest(m.full_at, now_s) + costs[i],
                booked_s = m.booked_s + costs[i],
                idle_at = CASE WHEN m.full_at <= now_s THEN now_s ELSE m.idle_at END;
            full_ats[i] := greatest(full_ats[i], now_s) + costs[i];
            bookeds[i] := bookeds[i] + costs[i];
        END LOOP;
        FOR i IN 1 .. cardinality(slots) LOOP
            DELETE FROM stanchion_slot WHERE name = slots[i] AND until <= now_s;
            INSERT INTO stanchion_slot VALUES (slots[i], who, now_s + ttls[i])
            ON CONFLICT (name, holder) DO UPDATE SET until = excluded.until;
        END LOOP;
    END IF;

    FOR i IN 1 .. cardinality(meters) LOOP
        depths[i] := greatest(0, full_ats[i] - now_s);
    END LOOP;
    RETURN ARRAY[wait, now_s] || depths || bookeds;
END
$$;

-- Follows the news about meters and frees slots.  Says what rules/meter.py says; see there why.
CREATE OR REPLACE FUNCTION stanchion_change_1(
    meters text[], costs float8[], holds float8[], seen_ats float8[], seen_bookeds float8[], seen_depths float8[],
    gains float8[], slots text[], who text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now_s float8;
    kept stanchion_meter;
    told float8;
BEGIN
    PERFORM stanchion_lock_1(meters || slots);
    now_s := stanchion_now_1();
    FOR i IN 1 .. cardinality(meters) LOOP
        SELECT * INTO kept FROM stanchion_meter WHERE name = meters[i];
        IF NOT FOUND THEN
            kept := ROW(meters[i], now_s, 0, 0, 0, 0);
        END IF;
        IF seen_ats[i] >= kept.synced_at AND (seen_ats[i] >= kept.born_at OR seen_bookeds[i] <= 0) THEN
            told := seen_ats[i] + seen_depths[i] + (kept.booked_s - seen_bookeds[i]);
            IF told >= kept.full_at OR kept.idle_at <= seen_ats[i] THEN
                kept.full_at := CASE
                    WHEN told > kept.full_at
                        THEN greatest(kept.full_at + gains[i] * (told - kept.full_at), seen_ats[i] + seen_depths[i])
                    ELSE kept.full_at + gains[i] * (told - kept.full_at)
                END;
                kept.synced_at := seen_ats[i];
            END IF;
        END IF;
        IF costs[i] > 0 AND kept.full_at <= now_s THEN
            kept.full_at := now_s;
            kept.idle_at := now_s;
        END IF;
        kept.full_at := kept.full_at + costs[i];
        kept.booked_s := kept.booked_s + costs[i];
        IF holds[i] > 0 AND now_s + holds[i] > kept.full_at THEN
            kept.full_at := now_s + holds[i];
            kept.synced_at := now_s;
        END IF;
        INSERT INTO stanchion_meter SELECT kept.*
        ON CONFLICT (name) DO UPDATE SET
            full_at = excluded.full_at, booked_s = excluded.booked_s, idle_at = excluded.idle_at,
            synced_at = excluded.synced_at;
    END LOOP;
    DELETE FROM stanchion_slot WHERE name = ANY (slots) AND holder = who;
END
$$;

-- Notes that a member is alive, forgets what is long over, returns how many of its circle are alive.
CREATE OR REPLACE FUNCTION stanchion_beat_1(which text, who text, ttl float8, remembered float8) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    now_s float8 := stanchion_now_1();
    alive bigint;
BEGIN
    INSERT INTO stanchion_member VALUES (which, who, now_s + ttl)
    ON CONFLICT (circle, name) DO UPDATE SET until = excluded.until;
    IF pg_try_advisory_xact_lock(hashtextextended('stanchion sweep', 20260101)) THEN  -- one sweeper is enough
        DELETE FROM stanchion_member WHERE until <= now_s;
        DELETE FROM stanchion_slot WHERE until <= now_s;
        DELETE FROM stanchion_meter WHERE greatest(full_at, born_at) + remembered < now_s;
    END IF;
    SELECT count(*) INTO alive FROM stanchion_member WHERE circle = which AND until > now_s;
    RETURN alive;
END
$$;

-- Appends an order and returns its number; drops what is too old or too much.  One at a time, so that a
-- reader never sees a number before a lower one.
CREATE OR REPLACE FUNCTION stanchion_order_1(what text, oldest float8, most bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    now_s float8;
    given bigint;
BEGIN
    PERFORM stanchion_lock_1(ARRAY['stanchion orders']);
    now_s := stanchion_now_1();
    INSERT INTO stanchion_key_order (at, told) VALUES (now_s, what) RETURNING number INTO given;
    DELETE FROM stanchion_key_order WHERE at <= now_s - oldest OR number <= given - most;
    RETURN given;
END
$$;

-- Puts reports in the place of earlier ones; forgets those older than so long.
CREATE OR REPLACE FUNCTION stanchion_report_1(keys text[], replicas text[], reports text[], oldest float8)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now_s float8;
BEGIN
    PERFORM stanchion_lock_1(ARRAY['stanchion reports']);
    now_s := stanchion_now_1();
    DELETE FROM stanchion_key_report WHERE at < now_s - oldest;
    INSERT INTO stanchion_key_report
        SELECT key, replica, now_s, report FROM unnest(keys, replicas, reports) AS t (key, replica, report)
    ON CONFLICT (key, replica) DO UPDATE SET at = excluded.at, report = excluded.report;
END
$$;

-- Keeps the bytes given unless there are some already; returns those that are kept.
CREATE OR REPLACE FUNCTION stanchion_pepper_1(new bytea) RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stanchion_pepper VALUES (1, new) ON CONFLICT DO NOTHING;
    RETURN (SELECT bytes FROM stanchion_pepper);
END
$$;
