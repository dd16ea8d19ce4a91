-- Messages that expire, and an index of who waits for which.

ALTER TABLE messages ADD COLUMN expires_at TEXT;

DROP INDEX messages_to;

CREATE INDEX messages_to ON messages (run_id, name, place, expires_at);

CREATE TABLE awaited (
    run_id TEXT NOT NULL,
    key    TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX awaited_by_key ON awaited (key);

INSERT INTO awaited (run_id, key)
SELECT run_id, wait_key FROM runs
WHERE status = 'waiting' AND wait_reason IN ('event', 'subworkflow') AND wait_key IS NOT NULL;
