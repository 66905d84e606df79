-- Frees slots, each for the one who gives it back.
CREATE OR REPLACE FUNCTION stanchion_free_1(names text[], whos text[]) RETURNS float8[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM stanchion_lock_1(names);
    DELETE FROM stanchion_slot AS s USING unnest(names, whos) AS t (name, who) WHERE s.name = t.name AND s.holder = t.who;
    RETURN '{}';
END
$$;

-- Takes all that calls want of limits, slots and money, one call after the other, each all of it or nothing.  Of limits it
-- says what rules/meter.py says; see there why.
-- Meters and slots stand in `meters` and `slots` once, and are wanted by their places there.  The parts of call `i` end at
-- `part_ends[i]`, its purses at `purse_ends[i]`; what part `i` wants ends at `want_ends[i]` and `seat_ends[i]`.
-- Returns for each call of each part its wait, the clock, the depth of each meter, what was booked on each; then
-- what stanchion_hold_1 returns.
CREATE OR REPLACE FUNCTION stanchion_admit_1(
    whos text[], part_ends int[], meters text[], want_ends int[], wants int[], costs float8[], rooms float8[],
    slots text[], seat_ends int[], seats int[], mosts int[], seat_ttls float8[],
    purse_ends int[], purses text[], caps bigint[], amounts bigint[], leasts bigint[], sures bigint[], keeps float8[],
    ttls float8[], late float8
) RETURNS float8[] LANGUAGE plpgsql AS $$
DECLARE
    near CONSTANT float8 := 1e-6;
    now_s float8;
    kept stanchion_meter;
    purse stanchion_purse;
    full_ats float8[] := '{}';
    bookeds float8[] := '{}';
    idle_ats float8[] := '{}';
    taken boolean[] := '{}';
    heres bigint[] := '{}';
    firsts float8[] := '{}';
    here bigint;
    first float8;
    fresh boolean;
    part_1 int := 1;
    purse_1 int := 1;
    purse_n int;
    at int;
    depth float8;
    wait float8;
    waits float8[];
    refused boolean;
    money float8[];
    answer float8[] := '{}';
BEGIN
    PERFORM stanchion_lock_1(meters || slots || purses);  -- all at once, in the one order that all steps lock in
    now_s := CASE WHEN cardinality(purses) > 0 THEN stanchion_purses_1(purses, late) ELSE stanchion_now_1() END;
    FOR i IN 1 .. cardinality(meters) LOOP
        SELECT * INTO kept FROM stanchion_meter WHERE name = meters[i];
        full_ats[i] := coalesce(kept.full_at, 0);
        bookeds[i] := coalesce(kept.booked_s, 0);
        idle_ats[i] := coalesce(kept.idle_at, 0);
        taken[i] := false;
    END LOOP;
    IF cardinality(slots) > 0 THEN DELETE FROM stanchion_slot WHERE name = ANY (slots) AND until <= now_s; END IF;
    FOR i IN 1 .. cardinality(slots) LOOP
        SELECT count(*), min(until) INTO here, first FROM stanchion_slot WHERE name = slots[i];
        heres[i] := here;
        firsts[i] := first;
    END LOOP;

    FOR turn IN 1 .. cardinality(whos) LOOP
        purse_n := purse_ends[turn];
        waits := '{}';
        refused := false;
        FOR i IN part_1 .. part_ends[turn] LOOP
            wait := 0;
            FOR each IN coalesce(want_ends[i - 1], 0) + 1 .. want_ends[i] LOOP
                depth := greatest(0, full_ats[wants[each]] - now_s);
                IF costs[each] <= rooms[each] THEN depth := depth + costs[each] - rooms[each]; END IF;
                IF depth > near THEN wait := greatest(wait, depth); END IF;
            END LOOP;
            FOR each IN coalesce(seat_ends[i - 1], 0) + 1 .. seat_ends[i] LOOP
                at := seats[each];
                IF mosts[each] <= 0 THEN
                    wait := 'infinity';
                ELSIF heres[at] >= mosts[each] AND NOT EXISTS (
                    SELECT FROM stanchion_slot WHERE name = slots[at] AND holder = whos[turn]
                ) THEN
                    wait := greatest(wait, firsts[at] - now_s, 0.001);
                END IF;
            END LOOP;
            waits := waits || wait;
            refused := refused OR wait > 0;
        END LOOP;
        IF purse_n < purse_1 THEN
            money := '{1,0}';
        ELSIF NOT refused THEN
            money := stanchion_hold_1(
                now_s, whos[turn], ttls[turn], purses[purse_1 : purse_n], caps[purse_1 : purse_n],
                amounts[purse_1 : purse_n], leasts[purse_1 : purse_n], sures[purse_1 : purse_n], keeps[purse_1 : purse_n]
            );
            refused := money[1] = 0;
        ELSE
            money := '{1,0}';
            FOR i IN purse_1 .. purse_n LOOP
                SELECT * INTO purse FROM stanchion_purse WHERE name = purses[i];
                IF caps[i] - purse.spent - purse.held < leasts[i] THEN money[1] := 0; END IF;
                money := money || ARRAY[purse.spent::float8, purse.held::float8, purse.born_at];
            END LOOP;
        END IF;
        FOR i IN part_1 .. part_ends[turn] LOOP
            IF NOT refused THEN
                FOR each IN coalesce(want_ends[i - 1], 0) + 1 .. want_ends[i] LOOP
                    at := wants[each];
                    IF full_ats[at] <= now_s THEN
                        idle_ats[at] := now_s;
                        full_ats[at] := now_s;
                    END IF;
                    full_ats[at] := full_ats[at] + costs[each];
                    bookeds[at] := bookeds[at] + costs[each];
                    taken[at] := true;
                END LOOP;
                FOR each IN coalesce(seat_ends[i - 1], 0) + 1 .. seat_ends[i] LOOP
                    at := seats[each];
                    INSERT INTO stanchion_slot AS s VALUES (slots[at], whos[turn], now_s + seat_ttls[each])
                    ON CONFLICT (name, holder) DO UPDATE SET until = excluded.until RETURNING s.xmax = 0 INTO fresh;
                    heres[at] := heres[at] + fresh::int;
                    firsts[at] := least(firsts[at], now_s + seat_ttls[each]);
                END LOOP;
            END IF;
            answer := answer || ARRAY[waits[i - part_1 + 1], now_s];
            FOR each IN coalesce(want_ends[i - 1], 0) + 1 .. want_ends[i] LOOP
                answer := answer || greatest(0, full_ats[wants[each]] - now_s);
            END LOOP;
            FOR each IN coalesce(want_ends[i - 1], 0) + 1 .. want_ends[i] LOOP
                answer := answer || bookeds[wants[each]];
            END LOOP;
        END LOOP;
        answer := answer || money;
        part_1 := part_ends[turn] + 1;
        purse_1 := purse_n + 1;
    END LOOP;

    INSERT INTO stanchion_meter AS m
        SELECT name, now_s, full_at, booked_s, idle_at, 0
        FROM unnest(meters, full_ats, bookeds, idle_ats, taken) AS t (name, full_at, booked_s, idle_at, taken_t)
        WHERE taken_t
    ON CONFLICT (name) DO UPDATE SET
        full_at = excluded.full_at, booked_s = excluded.booked_s, idle_at = excluded.idle_at;
    RETURN answer;
END
$$;
