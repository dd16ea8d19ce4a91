-- The statements of the SQLite store. Writing ones first; each is prepared once per connection.

-- name: create_run
INSERT INTO runs (
    run_id, workflow_id, created_at, actor_id, session_id, parent_run_id,
    status, changed_at, wait_reason, wait_key, wait_until, wake_at, driven, evidence,
    revision, updated_at, current_node, base, weight, payloads, head, vars, sum
) VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?14, ?8, ?9, ?10, ?11, ?12,
    (SELECT count(*) FROM evidence WHERE run_id = ?1),
    ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21
) ON CONFLICT DO NOTHING;

-- name: move_run
-- The hot one: it touches no indexed column.
UPDATE runs SET
    revision = ?3, updated_at = ?4, current_node = ?5,
    base = ?6, weight = ?7, payloads = ?8, head = ?9, vars = ?10, sum = ?11
WHERE number = ?1 AND revision = ?3 - 1 AND run_id = ?2;

-- name: hand_run
-- As move_run, and whether it is driven.
UPDATE runs SET
    revision = ?3, updated_at = ?4, current_node = ?5,
    base = ?6, weight = ?7, payloads = ?8, head = ?9, vars = ?10, sum = ?11, driven = ?12
WHERE number = ?1 AND revision = ?3 - 1 AND run_id = ?2;

-- name: turn_run
-- As move_run, and what listing asks about.
UPDATE runs SET
    revision = ?3, updated_at = ?4, current_node = ?5,
    base = ?6, weight = ?7, payloads = ?8, head = ?9, vars = ?10, sum = ?11,
    changed_at = ?4, status = ?12,
    wait_reason = ?13, wait_key = ?14, wait_until = ?15, wake_at = ?16, driven = ?17
WHERE number = ?1 AND revision = ?3 - 1 AND run_id = ?2;

-- name: rename_run
-- A host edited fields that are otherwise fixed.
UPDATE runs SET workflow_id = ?2, actor_id = ?3, session_id = ?4, parent_run_id = ?5
WHERE number = ?1;

-- name: add_log
INSERT INTO commits (place, head, delta, vars, records, state_sum, records_sum)
VALUES (?1 << 32 | ?2, ?3, ?4, ?5, ?6, ?7, ?8);

-- name: mark
SAVEPOINT member;

-- name: undo
ROLLBACK TO member;

-- name: unmark
RELEASE member;

-- name: add_step_key
INSERT INTO step_keys (number, key, revision) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING;

-- name: add_message
INSERT INTO messages (
    run_id, name, message_id, payload, sent_at, sent_by, dedupe_key, expires_at
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING;

-- name: add_message_key
INSERT INTO message_keys (run_id, dedupe_key) VALUES (?1, ?2) ON CONFLICT DO NOTHING;

-- name: consume_message
DELETE FROM messages WHERE run_id = ?1 AND message_id = ?2;

-- name: add_awaited
INSERT INTO awaited (run_id, key) VALUES (?1, ?2) ON CONFLICT DO NOTHING;

-- name: counter
SELECT value, at_most FROM counters WHERE key = ?1;

-- name: put_counter
INSERT INTO counters (key, value, at_most) VALUES (?1, ?2, ?3)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, at_most = excluded.at_most;

-- name: forget_awaited
DELETE FROM awaited WHERE run_id = ?1;

-- name: add_evidence
INSERT INTO evidence (evidence_id, run_id, step_id, digest, outcome, kept_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING;

-- name: count_evidence
UPDATE runs SET evidence = evidence + 1 WHERE run_id = ?1;

-- name: add_stray_record
INSERT INTO stray_records (run_id, record) VALUES (?1, ?2);

-- name: save_snapshot
INSERT INTO snapshots (snapshot_id, run_id, created_at, text) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (snapshot_id) DO UPDATE SET run_id = ?2, created_at = ?3, text = ?4;

-- name: delete_snapshot
DELETE FROM snapshots WHERE snapshot_id = ?1;

-- Reading: what a writer asks about a run it did not move last, beside `run`.

-- name: revision
SELECT revision FROM runs WHERE run_id = ?1;

-- name: number
SELECT number FROM runs WHERE run_id = ?1;

-- name: status
SELECT status FROM runs WHERE run_id = ?1;

-- name: message
SELECT place FROM messages WHERE run_id = ?1 AND message_id = ?2;

-- name: message_key
SELECT 1 FROM message_keys WHERE run_id = ?1 AND dedupe_key = ?2;

-- Reading runs: whole rows, so that their sums can be checked; relational/run_rows knows them.

-- name: run
SELECT
    number, run_id, workflow_id, created_at, actor_id, session_id, parent_run_id,
    evidence, revision, base, head, vars,
    updated_at, changed_at, status, wait_reason, wait_key, wait_until, wake_at, driven,
    current_node, weight, payloads, sum
FROM runs WHERE run_id = ?1;

-- name: runs_at_rest
-- Every status but running, whose updated_at is not in an index.
SELECT
    number, run_id, workflow_id, created_at, actor_id, session_id, parent_run_id,
    evidence, revision, base, head, vars,
    updated_at, changed_at, status, wait_reason, wait_key, wait_until, wake_at, driven,
    current_node, weight, payloads, sum
FROM runs
WHERE status = ?1
    AND (?2 IS NULL OR wait_reason = ?2)
    AND (?3 IS NULL OR workflow_id = ?3)
ORDER BY changed_at DESC LIMIT ?4;

-- name: runs_in_motion
SELECT
    number, run_id, workflow_id, created_at, actor_id, session_id, parent_run_id,
    evidence, revision, base, head, vars,
    updated_at, changed_at, status, wait_reason, wait_key, wait_until, wake_at, driven,
    current_node, weight, payloads, sum
FROM runs
WHERE number IN (
    SELECT number FROM runs
    WHERE status = ?1
        AND (?2 IS NULL OR wait_reason = ?2)
        AND (?3 IS NULL OR workflow_id = ?3)
    ORDER BY updated_at DESC LIMIT ?4
) ORDER BY updated_at DESC;

-- name: runs_waiting_until
SELECT
    number, run_id, workflow_id, created_at, actor_id, session_id, parent_run_id,
    evidence, revision, base, head, vars,
    updated_at, changed_at, status, wait_reason, wait_key, wait_until, wake_at, driven,
    current_node, weight, payloads, sum
FROM runs
-- The plus keeps it off the index of statuses: most waiting runs are not due.
WHERE wake_at <= ?1 AND wait_until <= ?1 AND +status = 'waiting'
ORDER BY wait_until LIMIT ?2;

-- name: runs_driven
-- For who looks whether drivers live: a run is loaded, and its sum checked, before it is touched.
SELECT
    number, run_id, workflow_id, created_at, actor_id, session_id, parent_run_id,
    evidence, revision, base, head, '{}'
FROM runs WHERE driven = 1 ORDER BY number LIMIT ?1;

-- name: runs_of_parent
SELECT
    number, run_id, workflow_id, created_at, actor_id, session_id, parent_run_id,
    evidence, revision, base, head, vars,
    updated_at, changed_at, status, wait_reason, wait_key, wait_until, wake_at, driven,
    current_node, weight, payloads, sum
FROM runs
WHERE parent_run_id = ?1 AND (?2 IS NULL OR status = ?2)
ORDER BY created_at, number;

-- name: due
SELECT run_id FROM runs WHERE wake_at <= ?1 ORDER BY wake_at LIMIT ?2;

-- name: next_wake
SELECT min(wake_at) FROM runs WHERE wake_at IS NOT NULL;

-- name: answered
-- Box by box, along the index: one run may have thousands of messages it does not wait for.
SELECT awaited.run_id
FROM (
    SELECT run_id, name, min(place) AS place FROM messages
    WHERE ?1 IS NULL OR expires_at IS NULL OR expires_at > ?1
    GROUP BY run_id, name
) AS boxes
CROSS JOIN awaited ON awaited.run_id = boxes.run_id AND awaited.key = boxes.name
GROUP BY awaited.run_id
ORDER BY min(boxes.place) LIMIT ?2;

-- name: awaiting
SELECT awaited.run_id FROM awaited
JOIN runs ON runs.run_id = awaited.run_id
WHERE awaited.key = ?1 AND runs.status = 'waiting' AND runs.wait_reason = 'event'
LIMIT ?2;

-- name: prefix
SELECT run_id FROM runs WHERE run_id >= ?1 AND substr(run_id, 1, length(?1)) = ?1
ORDER BY run_id LIMIT ?2;

-- Reading the log; places are those of one run.

-- name: chain
-- What a revision is rebuilt from.
SELECT head, delta, vars, state_sum FROM commits
WHERE place BETWEEN (?1 << 32 | ?2) AND (?1 << 32 | ?3) ORDER BY place;

-- name: base_at
SELECT place & 0xffffffff FROM commits
WHERE place BETWEEN (?1 << 32) AND (?1 << 32 | ?2) AND vars IS NOT NULL
ORDER BY place DESC LIMIT 1;

-- name: records
SELECT place & 0xffffffff, records, records_sum FROM commits
WHERE place > (?1 << 32 | ?2) AND place <= (?1 << 32 | 0xffffffff) ORDER BY place LIMIT ?3;

-- name: records_at
SELECT records, records_sum FROM commits WHERE place = (?1 << 32 | ?2);

-- name: log_at
SELECT head, delta, vars, records, state_sum, records_sum FROM commits
WHERE place = (?1 << 32 | ?2);

-- name: sums_at
SELECT state_sum, records_sum FROM commits WHERE place = (?1 << 32 | ?2);

-- name: log_rows
SELECT place & 0xffffffff, head, delta, vars, records, state_sum, records_sum FROM commits
WHERE place > (?1 << 32 | ?2) AND place <= (?1 << 32 | ?3) ORDER BY place LIMIT ?4;

-- name: stray_record_at
SELECT run_id, record FROM stray_records WHERE place = ?1;

-- name: step_key
SELECT max(revision) FROM step_keys WHERE number = ?1 AND key = ?2;

-- name: stray_records
SELECT record FROM stray_records WHERE run_id = ?1 ORDER BY place;

-- name: messages
SELECT message_id, run_id, name, payload, sent_at, sent_by, dedupe_key, expires_at
FROM messages
WHERE run_id = ?1 ORDER BY place;

-- name: messages_named
SELECT message_id, run_id, name, payload, sent_at, sent_by, dedupe_key, expires_at
FROM messages
WHERE run_id = ?1 AND name = ?2 ORDER BY place;

-- name: evidence_counts
-- As it is counted in the run's row, and as it is there.
SELECT evidence, (SELECT count(*) FROM evidence WHERE run_id = ?1) FROM runs WHERE run_id = ?1;

-- name: next_messages
SELECT message_id, run_id, name, payload, sent_at, sent_by, dedupe_key, expires_at, place
FROM messages
WHERE run_id = ?1 AND name = ?2 AND (expires_at IS NULL OR expires_at > ?3)
ORDER BY place LIMIT ?4;

-- name: counters
-- '0' is the character behind '/'.
SELECT key, value, at_most FROM counters WHERE key > ?1 || '/' AND key < ?1 || '0' ORDER BY key;

-- name: evidence
SELECT evidence_id, run_id, step_id, digest, outcome, kept_at FROM evidence
WHERE run_id = ?1 ORDER BY place;

-- name: snapshot
SELECT text FROM snapshots WHERE snapshot_id = ?1;

-- name: snapshots
SELECT text FROM snapshots WHERE ?1 IS NULL OR run_id = ?1
ORDER BY created_at DESC, place DESC;

-- name: check
PRAGMA integrity_check(20);
