-- IF NOT EXISTS, and the indexes in the same statement: MySQL has no
-- transactions for DDL, and a process may be killed right after it.
CREATE TABLE IF NOT EXISTS files (
    -- Bytes, because texts are compared without regard to case and to spaces
    -- at the end; 3,072 is the longest key that InnoDB takes.
    path      VARBINARY(3072) NOT NULL PRIMARY KEY,
    status    INTEGER         NOT NULL,
    create_at DATETIME(6)     NOT NULL,
    update_at DATETIME(6)     NOT NULL,
    `lock`    VARCHAR(32),
    lock_at   DATETIME(6),
    retry     INTEGER         NOT NULL,
    errors    JSON            NOT NULL,
    size      BIGINT,
    checksum  VARCHAR(8),
    `lines`   BIGINT,
    words     BIGINT,
    seconds   DOUBLE,

    -- The rows that a step starts from, in the order in which it takes them; and
    -- the running ones, among which expired locks are found.
    INDEX files_ready (status, update_at)
);
