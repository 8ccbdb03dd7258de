-- For workers that listen (`Worker::listen`): tells them that jobs are ready, whoever
-- has written them. Without such workers this migration is not needed.

CREATE FUNCTION status_tracker_notify() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- A partition notifies as its whole table.
    number bigint := coalesce(pg_partition_root(TG_RELID)::oid, TG_RELID);
    -- All who listen share this lock. Nobody listens where it is to be had alone, for a
    -- moment; then commits need not queue for the order of notifications.
    listeners bigint := (1953653099::bigint << 32) + number;
    is_heard boolean := CASE WHEN pg_try_advisory_lock(listeners)
                             THEN NOT pg_advisory_unlock(listeners) ELSE true END;
BEGIN
    IF is_heard THEN
        -- At commit, and once a transaction.
        PERFORM pg_notify('status_tracker_' || number, '');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_created AFTER INSERT ON jobs
    FOR EACH STATEMENT EXECUTE FUNCTION status_tracker_notify();

-- With the codes of the index of ready jobs.
CREATE TRIGGER jobs_ready AFTER UPDATE OF status ON jobs
    FOR EACH ROW WHEN (NEW.lock IS NULL AND NEW.status IN (10, 30))
    EXECUTE FUNCTION status_tracker_notify();
