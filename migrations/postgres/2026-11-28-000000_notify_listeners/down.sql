DROP TRIGGER jobs_ready ON jobs;
DROP TRIGGER jobs_created ON jobs;
DROP FUNCTION status_tracker_notify();
