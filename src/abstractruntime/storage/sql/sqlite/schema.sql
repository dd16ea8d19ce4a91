-- What a SQLite store holds. It equals the sum of migrations/, which a test compares.
-- JSON stands as text, exactly as it was hashed. Only `runs` and `messages` change in place.

CREATE TABLE runs (
    number        INTEGER PRIMARY KEY,
    run_id        TEXT NOT NULL UNIQUE,
    workflow_id   TEXT NOT NULL,
    created_at    TEXT NOT NULL,
    actor_id      TEXT,
    session_id    TEXT,
    parent_run_id TEXT,
    -- What listing asks about. No index has a column that moves at each step.
    status        TEXT NOT NULL,
    changed_at    TEXT NOT NULL,  -- = updated_at, except while running
    wait_reason   TEXT,
    wait_key      TEXT,
    wait_until    TEXT,
    wake_at       TEXT,           -- live runs only
    driven        INTEGER NOT NULL,
    evidence      INTEGER NOT NULL DEFAULT 0,
    -- What every commit moves.
    revision      INTEGER NOT NULL,
    updated_at    TEXT NOT NULL,
    current_node  TEXT NOT NULL,
    base          INTEGER NOT NULL,  -- the last revision that stands whole in `commits`
    weight        INTEGER NOT NULL,  -- bytes that changed since
    payloads      TEXT,  -- node -> [revision, index, weight, count] of its last large payload
    head          TEXT,  -- null when large: rows of `commits` from `base` on hold it
    vars          TEXT,  -- the same
    sum           INTEGER  -- of all columns but number and evidence; null before it was known
) STRICT;

CREATE INDEX runs_by_status ON runs (status, changed_at);
CREATE INDEX runs_to_wake ON runs (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX runs_driven ON runs (driven) WHERE driven = 1;
CREATE INDEX runs_by_parent ON runs (parent_run_id, created_at) WHERE parent_run_id IS NOT NULL;

-- The log. `vars` stands only in a base row, whose `head` is whole; in the others `head` and `delta`
-- say what changed since the revision before.
CREATE TABLE commits (
    place       INTEGER PRIMARY KEY,  -- run number * 2^32 + revision: a run's rows lie together
    head        TEXT NOT NULL,
    delta       TEXT,
    vars        TEXT,
    records     TEXT NOT NULL,
    state_sum   INTEGER,  -- of run id, revision, head, delta, vars
    records_sum INTEGER   -- of run id, revision, records
) STRICT;

-- Where the version before wrote its commits: a process that has the file open still may read on.
CREATE VIEW log AS SELECT place, head, delta, vars, records FROM commits;

CREATE TRIGGER log_is_closed INSTEAD OF INSERT ON log
BEGIN
    SELECT raise(ABORT, 'a newer abstractruntime has this file now: upgrade this process');
END;

CREATE TABLE step_keys (
    number   INTEGER NOT NULL,
    key      TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (number, key, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    place      INTEGER PRIMARY KEY,
    run_id     TEXT NOT NULL,
    name       TEXT NOT NULL,
    message_id TEXT NOT NULL,
    payload    TEXT NOT NULL,
    sent_at    TEXT NOT NULL,
    sent_by    TEXT,
    dedupe_key TEXT,
    expires_at TEXT,
    UNIQUE (run_id, message_id)
) STRICT;

CREATE INDEX messages_to ON messages (run_id, name, place, expires_at);

-- Which messages would move which waiting run.
CREATE TABLE awaited (
    run_id TEXT NOT NULL,
    key    TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX awaited_by_key ON awaited (key);

-- Outlives the message, so that a sender that repeats itself late is still recognised.
CREATE TABLE message_keys (
    run_id     TEXT NOT NULL,
    dedupe_key TEXT NOT NULL,
    PRIMARY KEY (run_id, dedupe_key)
) STRICT, WITHOUT ROWID;

-- Numbers that commits of several runs change together, with the most each may be: budgets.
CREATE TABLE counters (
    key     TEXT PRIMARY KEY,
    value   INTEGER NOT NULL,
    at_most INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE evidence (
    place       INTEGER PRIMARY KEY,
    evidence_id TEXT NOT NULL UNIQUE,
    run_id      TEXT NOT NULL,
    step_id     TEXT NOT NULL,
    digest      TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    kept_at     TEXT NOT NULL
) STRICT;

CREATE INDEX evidence_of ON evidence (run_id);

-- Ledger lines of runs whose state is kept elsewhere.
CREATE TABLE stray_records (
    place  INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;

CREATE INDEX stray_records_of ON stray_records (run_id);

CREATE TABLE snapshots (
    place       INTEGER PRIMARY KEY,
    snapshot_id TEXT NOT NULL UNIQUE,
    run_id      TEXT NOT NULL,
    created_at  TEXT NOT NULL,
    text        TEXT NOT NULL
) STRICT;

CREATE INDEX snapshots_of ON snapshots (run_id);

-- The tables above may change with any release; these views do not.
CREATE VIEW public_runs_v1 AS
SELECT
    run_id, workflow_id, status, current_node, revision, created_at, updated_at,
    wait_reason, wait_key, wait_until, wake_at,
    driven, actor_id, session_id, parent_run_id,
    head ->> '$.error' AS error,
    vars
FROM runs;

CREATE VIEW public_ledger_v1 AS
SELECT
    runs.run_id,
    commits.place & 0xffffffff AS revision,
    line.key AS line,
    line.value ->> '$.step_id' AS step_id,
    line.value ->> '$.status' AS status,
    -- A step's later lines leave to its first what did not change.
    line.value ->> '$.node_id' AS node_id,
    line.value ->> '$.attempt' AS attempt,
    coalesce(
        line.value ->> '$.effect.type',
        line.value ->> '$.same_step.type',
        line.value ->> '$.same_effect.type'
    ) AS effect_type,
    line.value ->> '$.result.kind' AS kind,
    line.value -> '$.result' AS result,
    line.value ->> '$.error' AS error,
    line.value ->> '$.started_at' AS started_at,
    line.value ->> '$.ended_at' AS ended_at,
    line.value ->> '$.record_hash' AS record_hash
FROM runs
JOIN commits ON commits.place BETWEEN runs.number << 32 AND (runs.number << 32) + 0xffffffff
JOIN json_each(commits.records) AS line;
