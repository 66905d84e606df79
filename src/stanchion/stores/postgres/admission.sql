-- Takes all that is wanted of limits, slots and money, or nothing.  Meters and slots belong to parts: those of part `i` end
-- at `meter_ends[i]` and `slot_ends[i]`.  The money is one holder's, as stanchion_reserve_1 takes it; none is no line.
-- Returns of each part its wait, the clock, the depth of each meter, what was booked on each; then what
-- stanchion_reserve_1 returns.
CREATE OR REPLACE FUNCTION stanchion_admit_1(
    meter_ends int[], meters text[], costs float8[], rooms float8[], slot_ends int[], slots text[], mosts int[],
    slot_ttls float8[], who text, purses text[], caps bigint[], amounts bigint[], leasts bigint[], sures bigint[],
    keeps float8[], ttl float8, late float8
) RETURNS float8[] LANGUAGE plpgsql AS $$
DECLARE
    now_s float8;
    part float8[];
    waits float8[] := '{}';
    taken float8[] := '{}';
    money float8[] := '{}';
    first int;
    refused boolean := false;
    kept stanchion_meter;
    purse stanchion_purse;
    depths float8[];
    bookeds float8[];
BEGIN
    PERFORM stanchion_lock_1(meters || slots || purses);  -- all at once, in the one order that all steps lock in
    IF cardinality(purses) > 0 THEN PERFORM stanchion_purses_1(purses, late); END IF;
    BEGIN
        FOR i IN 1 .. cardinality(meter_ends) LOOP
            first := coalesce(meter_ends[i - 1], 0) + 1;
            part := stanchion_take_1(
                meters[first : meter_ends[i]], costs[first : meter_ends[i]], rooms[first : meter_ends[i]],
                slots[coalesce(slot_ends[i - 1], 0) + 1 : slot_ends[i]],
                mosts[coalesce(slot_ends[i - 1], 0) + 1 : slot_ends[i]],
                slot_ttls[coalesce(slot_ends[i - 1], 0) + 1 : slot_ends[i]], who
            );
            waits[i] := part[1];
            refused := refused OR part[1] > 0;
            taken := taken || part;
        END LOOP;
        IF cardinality(purses) > 0 THEN
            money := stanchion_reserve_1(
                ARRAY[who], ARRAY[ttl], array_fill(1, ARRAY[cardinality(purses)]), purses, caps, amounts, leasts, sures,
                keeps, late
            );
            refused := refused OR money[1] = 0;
        END IF;
        IF refused THEN RAISE EXCEPTION 'refused' USING ERRCODE = 'ST001'; END IF;
        RETURN taken || money;
    EXCEPTION WHEN SQLSTATE 'ST001' THEN
        NULL;  -- all that was taken is undone by this
    END;

    now_s := stanchion_now_1();
    taken := '{}';
    FOR i IN 1 .. cardinality(meter_ends) LOOP
        depths := '{}';
        bookeds := '{}';
        FOR each IN coalesce(meter_ends[i - 1], 0) + 1 .. meter_ends[i] LOOP
            SELECT * INTO kept FROM stanchion_meter WHERE name = meters[each];
            depths := depths || greatest(0, coalesce(kept.full_at, 0) - now_s);
            bookeds := bookeds || coalesce(kept.booked_s, 0);
        END LOOP;
        taken := taken || ARRAY[waits[i], now_s] || depths || bookeds;
    END LOOP;
    FOR i IN 1 .. cardinality(purses) LOOP
        SELECT * INTO purse FROM stanchion_purse WHERE name = purses[i];
        money[3 * i] := purse.spent;
        money[3 * i + 1] := purse.held;
        money[3 * i + 2] := purse.born_at;
    END LOOP;
    RETURN taken || money;
END
$$;
