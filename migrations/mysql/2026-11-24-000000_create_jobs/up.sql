CREATE TABLE jobs (
    id        VARCHAR(255) NOT NULL PRIMARY KEY,
    status    INTEGER      NOT NULL,
    create_at DATETIME(6)  NOT NULL, -- without the digits times are cut to seconds
    update_at DATETIME(6)  NOT NULL,
    `lock`    VARCHAR(32),
    lock_at   DATETIME(6),
    retry     INTEGER      NOT NULL DEFAULT 0,
    data      JSON,
    errors    JSON         NOT NULL DEFAULT ('{}'),

    -- The ready jobs in the order in which they are taken. MySQL has no
    -- partial indexes, so the finished ones are in it too, apart. And the running
    -- ones, among which expired locks are found.
    INDEX jobs_ready (status, update_at)
);
