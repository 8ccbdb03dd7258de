//! The page of all expressions. `#role` is an attribute by its role, see
//! [`Attributes`](crate::Attributes) and [`KeyAttributes`](crate::KeyAttributes);
//! `:name` is a value; `{part}` is filled in by the caller, or is one of the
//! conditions that recur.

/// Nobody holds the item. A user's own program may have written `null`.
pub(crate) const FREE: &str = "(attribute_not_exists(#lock) OR attribute_type(#lock, :null_type))";
/// Its time has come.
pub(crate) const DUE: &str =
    "(attribute_not_exists(#run_at) OR attribute_type(#run_at, :null_type) OR #run_at <= :now)";
/// The attempt holds the item. A claim that the network delivers a second time takes
/// the lock with the same token, and with another number.
pub(crate) const HELD: &str = "#lock = :token AND #claims = :claims";
/// The lock is as it was when the watch began.
pub(crate) const UNCHANGED: &str = "#lock = :token AND #renewals = :renewals";
/// The same for a lock that another program has written, without a counter.
pub(crate) const UNCHANGED_FOREIGN: &str = "#lock = :token AND attribute_not_exists(#renewals)";

/// A new item.
pub(crate) const ABSENT: &str = "attribute_not_exists(#partition)";

/// Claims the item.
pub(crate) const CLAIM: &str = "SET #status = :in_progress, #lock = :token, #claims = if_not_exists(#claims, :zero) + :one, #renewals = :zero, #lock_at = :now, #update_at = :now";
/// Not with the token that has just ended: a claim that arrives a second time would
/// lock the item for nobody.
pub(crate) const READY: &str = "#status IN ({statuses}) AND {free} AND {due} AND (attribute_not_exists(#last_lock) OR #last_lock <> :token)";

/// Renews the lock, and with `{changes}` saves them.
pub(crate) const RENEW: &str = "SET #renewals = #renewals + :one, #lock_at = :now{changes}";

/// Success: the item leaves the index.
pub(crate) const SUCCEED: &str = "SET #status = :status, #retry = :zero, #last_lock = :token, #update_at = :now{changes} REMOVE #lock, #run_at, #queue";
/// Success of a step that another one follows: the item waits in that one's queue.
pub(crate) const CONTINUE: &str = "SET #status = :status, #retry = :zero, #last_lock = :token, #update_at = :now, #queue = :queue, #due = :due{changes} REMOVE #lock, #run_at";

/// A failure, by the attempt or by its expiry: ready again, at once or later, or
/// ignored.
pub(crate) const FAIL: &str = "SET #status = :status, #retry = :retry, #errors = :errors, #last_lock = :token, #update_at = :now{queued} REMOVE #lock, #run_at";
pub(crate) const FAIL_LATER: &str = "SET #status = :status, #retry = :retry, #errors = :errors, #last_lock = :token, #update_at = :now, #run_at = :run_at{queued} REMOVE #lock";
pub(crate) const IGNORE: &str = "SET #status = :status, #retry = :retry, #errors = :errors, #last_lock = :token, #update_at = :now REMOVE #lock, #run_at, #queue";

/// Ready again, with no attempt counted.
pub(crate) const RELEASE: &str =
    "SET #status = :status, #last_lock = :token, #update_at = :now{queued} REMOVE #lock, #run_at";

/// Pending again. The time of the last change is written too.
pub(crate) const RESET: &str =
    "SET #status = :status, #retry = :zero, #update_at = :now{queued} REMOVE #run_at";
pub(crate) const MAY_RESET: &str = "#status IN ({statuses}) AND {free}";

/// Where the item stands in the index.
pub(crate) const QUEUED: &str = ", #queue = :queue, #due = :due";

/// An item that may be deleted.
pub(crate) const OLD: &str = "#status IN ({statuses}) AND {free} AND #update_at < :before";

/// The open jobs of a queue whose time has come.
pub(crate) const OPEN: &str = "#queue = :queue AND #due <= :due";
/// All open jobs of a queue.
pub(crate) const ALL_OPEN: &str = "#queue = :queue";

/// Items with a status, among all.
pub(crate) const WITH_STATUS: &str = "#status IN ({statuses})";
/// What a count reads.
pub(crate) const STATUS_ALONE: &str = "#status";
