CREATE TABLE jobs (
    id        TEXT      NOT NULL PRIMARY KEY,
    status    INTEGER   NOT NULL,
    create_at TIMESTAMP NOT NULL,
    update_at TIMESTAMP NOT NULL,
    lock      TEXT,
    lock_at   TIMESTAMP,
    retry     INTEGER   NOT NULL DEFAULT 0,
    data      TEXT,                          -- JSON
    errors    TEXT      NOT NULL DEFAULT '{}' -- JSON
);

-- The ready jobs alone, in the order in which they are taken: finding the
-- next one costs the same whatever the number of finished rows.
CREATE INDEX jobs_ready ON jobs (update_at) WHERE lock IS NULL AND status IN (10, 30);

-- The running jobs alone, for finding expired locks.
CREATE INDEX jobs_locked ON jobs (lock_at) WHERE lock IS NOT NULL;
