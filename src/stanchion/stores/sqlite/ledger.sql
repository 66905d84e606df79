-- The ledger: one line per call and paid attempt, and sums by hour and by day.  See stores/ledger.py.
CREATE TABLE IF NOT EXISTS ledger_line (
    hour INTEGER NOT NULL, call TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL,
    caller TEXT NOT NULL, model TEXT NOT NULL, endpoint TEXT NOT NULL, key TEXT NOT NULL, team TEXT NOT NULL,
    operation TEXT NOT NULL, asked TEXT NOT NULL, outcome TEXT NOT NULL, code TEXT NOT NULL, tier TEXT NOT NULL,
    stream INTEGER NOT NULL, seconds REAL NOT NULL,
    calls INTEGER NOT NULL, failed INTEGER NOT NULL, cancelled INTEGER NOT NULL, cached INTEGER NOT NULL,
    attempts INTEGER NOT NULL, estimated INTEGER NOT NULL, unpriced INTEGER NOT NULL, input INTEGER NOT NULL,
    input_cached INTEGER NOT NULL, input_cache_write INTEGER NOT NULL, input_audio INTEGER NOT NULL, output INTEGER NOT NULL,
    output_reasoning INTEGER NOT NULL, output_audio INTEGER NOT NULL, cost_input INTEGER NOT NULL, cost_input_cached INTEGER NOT NULL,
    cost_input_cache_write INTEGER NOT NULL, cost_input_audio INTEGER NOT NULL, cost_output INTEGER NOT NULL, cost_output_reasoning INTEGER NOT NULL,
    cost_output_audio INTEGER NOT NULL,
    PRIMARY KEY (hour, call, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_hour (
    hour INTEGER NOT NULL, caller TEXT NOT NULL, model TEXT NOT NULL, endpoint TEXT NOT NULL, key TEXT NOT NULL, team TEXT NOT NULL,
    calls INTEGER NOT NULL, failed INTEGER NOT NULL, cancelled INTEGER NOT NULL, cached INTEGER NOT NULL,
    attempts INTEGER NOT NULL, estimated INTEGER NOT NULL, unpriced INTEGER NOT NULL, input INTEGER NOT NULL,
    input_cached INTEGER NOT NULL, input_cache_write INTEGER NOT NULL, input_audio INTEGER NOT NULL, output INTEGER NOT NULL,
    output_reasoning INTEGER NOT NULL, output_audio INTEGER NOT NULL, cost_input INTEGER NOT NULL, cost_input_cached INTEGER NOT NULL,
    cost_input_cache_write INTEGER NOT NULL, cost_input_audio INTEGER NOT NULL, cost_output INTEGER NOT NULL, cost_output_reasoning INTEGER NOT NULL,
    cost_output_audio INTEGER NOT NULL,
    PRIMARY KEY (hour, caller, model, endpoint, key, team)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_day (
    day INTEGER NOT NULL, caller TEXT NOT NULL, model TEXT NOT NULL, endpoint TEXT NOT NULL, key TEXT NOT NULL, team TEXT NOT NULL,
    calls INTEGER NOT NULL, failed INTEGER NOT NULL, cancelled INTEGER NOT NULL, cached INTEGER NOT NULL,
    attempts INTEGER NOT NULL, estimated INTEGER NOT NULL, unpriced INTEGER NOT NULL, input INTEGER NOT NULL,
    input_cached INTEGER NOT NULL, input_cache_write INTEGER NOT NULL, input_audio INTEGER NOT NULL, output INTEGER NOT NULL,
    output_reasoning INTEGER NOT NULL, output_audio INTEGER NOT NULL, cost_input INTEGER NOT NULL, cost_input_cached INTEGER NOT NULL,
    cost_input_cache_write INTEGER NOT NULL, cost_input_audio INTEGER NOT NULL, cost_output INTEGER NOT NULL, cost_output_reasoning INTEGER NOT NULL,
    cost_output_audio INTEGER NOT NULL,
    PRIMARY KEY (day, caller, model, endpoint, key, team)
) WITHOUT ROWID;
