-- Checksums of rows; those of rows from before stay null. `log` becomes `commits`: a process of the
-- version before may have the file open, and each of its commits has to write to `log`.

DROP VIEW public_ledger_v1;
ALTER TABLE log RENAME TO commits;
ALTER TABLE commits ADD COLUMN state_sum INTEGER;
ALTER TABLE commits ADD COLUMN records_sum INTEGER;
ALTER TABLE runs ADD COLUMN sum INTEGER;

CREATE VIEW log AS SELECT place, head, delta, vars, records FROM commits;

CREATE TRIGGER log_is_closed INSTEAD OF INSERT ON log
BEGIN
    SELECT raise(ABORT, 'a newer abstractruntime has this file now: upgrade this process');
END;

CREATE VIEW public_ledger_v1 AS
SELECT
    runs.run_id,
    commits.place & 0xffffffff AS revision,
    line.key AS line,
    line.value ->> '$.step_id' AS step_id,
    line.value ->> '$.status' AS status,
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
