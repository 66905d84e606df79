-- The ledger: one line per call and paid attempt, and sums by hour and by day.  See stores/ledger.py.
CREATE TABLE IF NOT EXISTS stanchion_ledger_line (
    hour int NOT NULL, call text NOT NULL, number int NOT NULL, at float8 NOT NULL,
    caller text NOT NULL, model text NOT NULL, endpoint text NOT NULL, key text NOT NULL, team text NOT NULL,
    operation text NOT NULL, asked text NOT NULL, outcome text NOT NULL, code text NOT NULL, tier text NOT NULL,
    stream boolean NOT NULL, seconds float8 NOT NULL,
    calls bigint NOT NULL, failed bigint NOT NULL, cancelled bigint NOT NULL, cached bigint NOT NULL,
    attempts bigint NOT NULL, estimated bigint NOT NULL, unpriced bigint NOT NULL, input bigint NOT NULL,
    input_cached bigint NOT NULL, input_cache_write bigint NOT NULL, input_audio bigint NOT NULL, output bigint NOT NULL,
    output_reasoning bigint NOT NULL, output_audio bigint NOT NULL, cost_input bigint NOT NULL, cost_input_cached bigint NOT NULL,
    cost_input_cache_write bigint NOT NULL, cost_input_audio bigint NOT NULL, cost_output bigint NOT NULL, cost_output_reasoning bigint NOT NULL,
    cost_output_audio bigint NOT NULL,
    PRIMARY KEY (hour, call, number)
);
CREATE TABLE IF NOT EXISTS stanchion_ledger_hour (
    hour int NOT NULL, caller text NOT NULL, model text NOT NULL, endpoint text NOT NULL, key text NOT NULL, team text NOT NULL,
    calls bigint NOT NULL, failed bigint NOT NULL, cancelled bigint NOT NULL, cached bigint NOT NULL,
    attempts bigint NOT NULL, estimated bigint NOT NULL, unpriced bigint NOT NULL, input bigint NOT NULL,
    input_cached bigint NOT NULL, input_cache_write bigint NOT NULL, input_audio bigint NOT NULL, output bigint NOT NULL,
    output_reasoning bigint NOT NULL, output_audio bigint NOT NULL, cost_input bigint NOT NULL, cost_input_cached bigint NOT NULL,
    cost_input_cache_write bigint NOT NULL, cost_input_audio bigint NOT NULL, cost_output bigint NOT NULL, cost_output_reasoning bigint NOT NULL,
    cost_output_audio bigint NOT NULL,
    PRIMARY KEY (hour, caller, model, endpoint, key, team)
);
CREATE TABLE IF NOT EXISTS stanchion_ledger_day (
    day int NOT NULL, caller text NOT NULL, model text NOT NULL, endpoint text NOT NULL, key text NOT NULL, team text NOT NULL,
    calls bigint NOT NULL, failed bigint NOT NULL, cancelled bigint NOT NULL, cached bigint NOT NULL,
    attempts bigint NOT NULL, estimated bigint NOT NULL, unpriced bigint NOT NULL, input bigint NOT NULL,
    input_cached bigint NOT NULL, input_cache_write bigint NOT NULL, input_audio bigint NOT NULL, output bigint NOT NULL,
    output_reasoning bigint NOT NULL, output_audio bigint NOT NULL, cost_input bigint NOT NULL, cost_input_cached bigint NOT NULL,
    cost_input_cache_write bigint NOT NULL, cost_input_audio bigint NOT NULL, cost_output bigint NOT NULL, cost_output_reasoning bigint NOT NULL,
    cost_output_audio bigint NOT NULL,
    PRIMARY KEY (day, caller, model, endpoint, key, team)
);

-- Writes the lines that are not there yet, and adds them to the sums; returns how many were new.  One batch after
-- another, so that two never wait for each other's rows.
CREATE OR REPLACE FUNCTION stanchion_ledger_add_1(told json) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    fresh bigint;
BEGIN
    PERFORM stanchion_lock_1(ARRAY['stanchion ledger']);
    WITH lines AS (
        INSERT INTO stanchion_ledger_line
        SELECT * FROM json_populate_recordset(NULL::stanchion_ledger_line, told)
        ON CONFLICT DO NOTHING
        RETURNING *
    ), hours AS (
        INSERT INTO stanchion_ledger_hour AS kept
        SELECT hour, caller, model, endpoint, key, team,
            sum(calls), sum(failed), sum(cancelled), sum(cached), sum(attempts), sum(estimated),
            sum(unpriced), sum(input), sum(input_cached), sum(input_cache_write), sum(input_audio), sum(output),
            sum(output_reasoning), sum(output_audio), sum(cost_input), sum(cost_input_cached), sum(cost_input_cache_write), sum(cost_input_audio),
            sum(cost_output), sum(cost_output_reasoning), sum(cost_output_audio)
        FROM lines GROUP BY hour, caller, model, endpoint, key, team
        ON CONFLICT (hour, caller, model, endpoint, key, team) DO UPDATE SET
            calls = kept.calls + excluded.calls, failed = kept.failed + excluded.failed,
            cancelled = kept.cancelled + excluded.cancelled, cached = kept.cached + excluded.cached,
            attempts = kept.attempts + excluded.attempts, estimated = kept.estimated + excluded.estimated,
            unpriced = kept.unpriced + excluded.unpriced, input = kept.input + excluded.input,
            input_cached = kept.input_cached + excluded.input_cached, input_cache_write = kept.input_cache_write + excluded.input_cache_write,
            input_audio = kept.input_audio + excluded.input_audio, output = kept.output + excluded.output,
            output_reasoning = kept.output_reasoning + excluded.output_reasoning, output_audio = kept.output_audio + excluded.output_audio,
            cost_input = kept.cost_input + excluded.cost_input, cost_input_cached = kept.cost_input_cached + excluded.cost_input_cached,
            cost_input_cache_write = kept.cost_input_cache_write + excluded.cost_input_cache_write, cost_input_audio = kept.cost_input_audio + excluded.cost_input_audio,
            cost_output = kept.cost_output + excluded.cost_output, cost_output_reasoning = kept.cost_output_reasoning + excluded.cost_output_reasoning,
            cost_output_audio = kept.cost_output_audio + excluded.cost_output_audio
    ), days AS (
        INSERT INTO stanchion_ledger_day AS kept
        SELECT hour / 24, caller, model, endpoint, key, team,
            sum(calls), sum(failed), sum(cancelled), sum(cached), sum(attempts), sum(estimated),
            sum(unpriced), sum(input), sum(input_cached), sum(input_cache_write), sum(input_audio), sum(output),
            sum(output_reasoning), sum(output_audio), sum(cost_input), sum(cost_input_cached), sum(cost_input_cache_write), sum(cost_input_audio),
            sum(cost_output), sum(cost_output_reasoning), sum(cost_output_audio)
        FROM lines GROUP BY hour / 24, caller, model, endpoint, key, team
        ON CONFLICT (day, caller, model, endpoint, key, team) DO UPDATE SET
            calls = kept.calls + excluded.calls, failed = kept.failed + excluded.failed,
            cancelled = kept.cancelled + excluded.cancelled, cached = kept.cached + excluded.cached,
            attempts = kept.attempts + excluded.attempts, estimated = kept.estimated + excluded.estimated,
            unpriced = kept.unpriced + excluded.unpriced, input = kept.input + excluded.input,
            input_cached = kept.input_cached + excluded.input_cached, input_cache_write = kept.input_cache_write + excluded.input_cache_write,
            input_audio = kept.input_audio + excluded.input_audio, output = kept.output + excluded.output,
            output_reasoning = kept.output_reasoning + excluded.output_reasoning, output_audio = kept.output_audio + excluded.output_audio,
            cost_input = kept.cost_input + excluded.cost_input, cost_input_cached = kept.cost_input_cached + excluded.cost_input_cached,
            cost_input_cache_write = kept.cost_input_cache_write + excluded.cost_input_cache_write, cost_input_audio = kept.cost_input_audio + excluded.cost_input_audio,
            cost_output = kept.cost_output + excluded.cost_output, cost_output_reasoning = kept.cost_output_reasoning + excluded.cost_output_reasoning,
            cost_output_audio = kept.cost_output_audio + excluded.cost_output_audio
    )
    SELECT count(*) INTO fresh FROM lines;
    RETURN fresh;
END
$$;
