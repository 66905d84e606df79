-- Budgets of money.  Says what stores/memory_budgets.py says; see stores/budgets.py for the words.  Amounts are whole
-- micro-dollars.  Kept in the write-ahead log, since money is not to be forgotten, but no step waits for the disk: a
-- server that crashes may forget the last fraction of a second.
CREATE TABLE IF NOT EXISTS stanchion_purse (
    name text PRIMARY KEY, born_at float8 NOT NULL, spent bigint NOT NULL, held bigint NOT NULL,
    keep_until float8 NOT NULL
) WITH (fillfactor = 50);  -- room to change a row in place
CREATE TABLE IF NOT EXISTS stanchion_lease (
    purse text NOT NULL, holder text NOT NULL, amount bigint NOT NULL, sure bigint NOT NULL, dead boolean NOT NULL,
    until float8 NOT NULL, PRIMARY KEY (purse, holder)
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS stanchion_lease_until ON stanchion_lease (purse, until);

-- Locks the purses, makes those that are missing or were kept long enough, and ends the leases that ran out.
CREATE OR REPLACE FUNCTION stanchion_purses_1(purses text[], late float8) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    now_s float8;
BEGIN
    PERFORM stanchion_lock_1(purses);
    PERFORM set_config('synchronous_commit', 'off', true);
    now_s := stanchion_now_1();
    DELETE FROM stanchion_lease AS l USING stanchion_purse AS p
        WHERE p.name = ANY (purses) AND p.keep_until <= now_s AND l.purse = p.name;
    DELETE FROM stanchion_purse WHERE name = ANY (purses) AND keep_until <= now_s;
    INSERT INTO stanchion_purse SELECT DISTINCT each, now_s, 0, 0, 'infinity'::float8 FROM unnest(purses) AS each
        WHERE NOT EXISTS (SELECT FROM stanchion_purse WHERE name = each);
    IF EXISTS (SELECT FROM stanchion_lease WHERE purse = ANY (purses) AND until <= now_s) THEN
        DELETE FROM stanchion_lease WHERE purse = ANY (purses) AND until <= now_s AND dead;
        WITH over AS (
            SELECT purse, sum(amount) AS amount, sum(sure) AS sure FROM stanchion_lease
            WHERE purse = ANY (purses) AND until <= now_s GROUP BY purse
        )
        UPDATE stanchion_purse AS p SET held = held - over.amount, spent = spent + over.sure
            FROM over WHERE p.name = over.purse;
        UPDATE stanchion_lease SET dead = true, amount = 0, until = now_s + late
            WHERE purse = ANY (purses) AND until <= now_s;
    END IF;
    RETURN now_s;
END
$$;

-- Holds for one call of all its purses or of none, at a time at which they were locked and looked after.  Returns granted
-- (1 or 0), cut, then spent, held and born_at of each purse.
CREATE OR REPLACE FUNCTION stanchion_hold_1(
    now_s float8, who text, ttl float8, purses text[], caps bigint[], amounts bigint[], leasts bigint[], sures bigint[],
    keeps float8[]
) RETURNS float8[] LANGUAGE plpgsql AS $$
DECLARE
    kept stanchion_purse;
    mine stanchion_lease;
    granted boolean := true;
    cut bigint := 0;
    amount_i bigint;
    left_i bigint;
    answer float8[];
BEGIN
    FOR i IN 1 .. cardinality(purses) LOOP
        SELECT * INTO kept FROM stanchion_purse WHERE name = purses[i];
        left_i := caps[i] - kept.spent - kept.held;
        IF left_i < amounts[i] THEN
            granted := granted AND left_i >= leasts[i];
            cut := greatest(cut, amounts[i] - left_i);
        END IF;
    END LOOP;
    IF NOT granted THEN cut := 0; END IF;
    answer := ARRAY[granted::int::float8, cut::float8];
    FOR i IN 1 .. cardinality(purses) LOOP
        IF granted THEN
            amount_i := greatest(least(leasts[i], amounts[i]), amounts[i] - cut);
            SELECT * INTO mine FROM stanchion_lease WHERE purse = purses[i] AND holder = who;
            UPDATE stanchion_purse SET
                spent = spent - CASE WHEN mine.dead THEN mine.sure ELSE 0 END,
                held = held + amount_i,
                keep_until = CASE WHEN keeps[i] > 0 THEN now_s + keeps[i] ELSE 'infinity' END
                WHERE name = purses[i] RETURNING * INTO kept;
            INSERT INTO stanchion_lease AS l
                VALUES (purses[i], who, amount_i, least(sures[i], amount_i), false, now_s + ttl)
            ON CONFLICT (purse, holder) DO UPDATE SET
                amount = l.amount + excluded.amount,
                sure = CASE WHEN l.dead THEN 0 ELSE l.sure END + excluded.sure,
                dead = false, until = excluded.until;
        ELSE
            SELECT * INTO kept FROM stanchion_purse WHERE name = purses[i];
        END IF;
        answer := answer || ARRAY[kept.spent::float8, kept.held::float8, kept.born_at];
    END LOOP;
    RETURN answer;
END
$$;

-- Holds for many calls, one after the other.  Line i of the arrays from `purses` on is one purse of the call `calls[i]`;
-- lines of a call stand together.
CREATE OR REPLACE FUNCTION stanchion_reserve_1(
    whos text[], ttls float8[], calls int[], purses text[], caps bigint[], amounts bigint[], leasts bigint[],
    sures bigint[], keeps float8[], late float8
) RETURNS float8[] LANGUAGE plpgsql AS $$
DECLARE
    now_s float8 := stanchion_purses_1(purses, late);
    first int := 1;
    last int;
    answer float8[] := '{}';
BEGIN
    FOR turn IN 1 .. cardinality(whos) LOOP
        last := first;
        WHILE last < cardinality(purses) AND calls[last + 1] = turn LOOP last := last + 1; END LOOP;
        answer := answer || stanchion_hold_1(
            now_s, whos[turn], ttls[turn], purses[first : last], caps[first : last], amounts[first : last],
            leasts[first : last], sures[first : last], keeps[first : last]
        );
        first := last + 1;
    END LOOP;
    RETURN answer;
END
$$;

-- Puts what was spent in the place of what was held.  One row of the arrays is one purse of one holder.
CREATE OR REPLACE FUNCTION stanchion_settle_1(holders text[], purses text[], amounts bigint[], late float8)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    mine stanchion_lease;
BEGIN
    PERFORM stanchion_purses_1(purses, late);
    FOR i IN 1 .. cardinality(purses) LOOP
        DELETE FROM stanchion_lease WHERE purse = purses[i] AND holder = holders[i] RETURNING * INTO mine;
        IF FOUND THEN
            UPDATE stanchion_purse SET held = held - mine.amount,
                spent = spent + amounts[i] - CASE WHEN mine.dead THEN mine.sure ELSE 0 END
                WHERE name = purses[i];
        END IF;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION stanchion_renew_1(holders text[], purses text[], ttl float8, late float8)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now_s float8 := stanchion_purses_1(purses, late);
BEGIN
    UPDATE stanchion_lease AS l SET until = now_s + ttl
        FROM unnest(holders, purses) AS t (holder, purse)
        WHERE l.purse = t.purse AND l.holder = t.holder AND NOT l.dead;
END
$$;

-- Spends without a hold; before that each purse has at least spent what is known of it.
CREATE OR REPLACE FUNCTION stanchion_spend_1(purses text[], knowns bigint[], amounts bigint[], late float8)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM stanchion_purses_1(purses, late);
    UPDATE stanchion_purse AS p SET spent = greatest(p.spent, t.known) + t.amount
        FROM unnest(purses, knowns, amounts) AS t (purse, known, amount) WHERE p.name = t.purse;
END
$$;

-- Returns spent and held of each purse.
CREATE OR REPLACE FUNCTION stanchion_spent_1(purses text[], late float8) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    answer bigint[] := '{}';
    kept stanchion_purse;
BEGIN
    PERFORM stanchion_purses_1(purses, late);
    FOR i IN 1 .. cardinality(purses) LOOP
        SELECT * INTO kept FROM stanchion_purse WHERE name = purses[i];
        answer := answer || ARRAY[kept.spent, kept.held];
    END LOOP;
    RETURN answer;
END
$$;
