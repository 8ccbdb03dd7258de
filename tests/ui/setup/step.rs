impl diesel_status_tracker::StatusTracked for Job {
    type Job = Job;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
}
