CREATE TABLE files (
    path      TEXT      NOT NULL PRIMARY KEY,
    status    INTEGER   NOT NULL,
    create_at TIMESTAMP NOT NULL,
    update_at TIMESTAMP NOT NULL,
    lock      TEXT,
    lock_at   TIMESTAMP,
    retry     INTEGER   NOT NULL,
    errors    TEXT      NOT NULL, -- JSON
    size      BIGINT,
    checksum  TEXT,
    lines     BIGINT,
    words     BIGINT,
    seconds   DOUBLE
);

-- For each step the rows that it starts from, in the order in which it takes them.
CREATE INDEX files_to_checksum ON files (update_at) WHERE lock IS NULL AND status IN (10, 14);
CREATE INDEX files_to_count ON files (update_at) WHERE lock IS NULL AND status IN (20, 24, 16);
-- The running ones, for finding expired locks.
CREATE INDEX files_locked ON files (lock_at) WHERE lock IS NOT NULL;
