//! The names of an item's attributes.

/// The names of the attributes that this crate writes. The user's own structs may
/// have fields for them, to read them.
///
/// ```
/// # use dynamodb_status_tracker::Attributes;
/// const ATTRIBUTES: Attributes = Attributes { status: "state", lock: "lease", ..Attributes::DEFAULT };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// The status code.
    pub status: &'static str,
    /// The fencing token of the attempt that holds the item; absent if none does.
    pub lock: &'static str,
    /// How often the item was claimed. With the token it fences each attempt: the
    /// network may deliver a claim a second time.
    pub claims: &'static str,
    /// How often the lock was renewed. Other workers watch this counter.
    pub renewals: &'static str,
    /// When the lock was taken or last renewed, by that worker's clock. For people:
    /// nothing is decided by it.
    pub lock_at: &'static str,
    /// The token of the attempt that held the item last. It tells whether a write
    /// was applied whose answer was lost.
    pub last_lock: &'static str,
    /// Failures in a row.
    pub retry: &'static str,
    /// The record of failures, see [`ErrorLog`](crate::ErrorLog).
    pub errors: &'static str,
    /// When the item was created, for people.
    pub create_at: &'static str,
    /// When its status last changed, by the clock of the worker that wrote it.
    pub update_at: &'static str,
    /// The job may not run before this time; absent if it may at once.
    pub run_at: &'static str,
    /// Partition key of the index of open jobs: status and shard. Absent once the
    /// job is finished, so that the item leaves the index.
    pub queue: &'static str,
    /// Sort key of the index: where the job stands in its queue.
    pub due: &'static str,
}

impl Attributes {
    /// Each attribute is called as its field is.
    pub const DEFAULT: Self = Self {
        status: "status",
        lock: "lock",
        claims: "claims",
        renewals: "renewals",
        lock_at: "lock_at",
        last_lock: "last_lock",
        retry: "retry",
        errors: "errors",
        create_at: "create_at",
        update_at: "update_at",
        run_at: "run_at",
        queue: "queue",
        due: "due",
    };

    /// The roles in the statements, and the names.
    pub(crate) fn roles(&self) -> [(&'static str, &'static str); 13] {
        [
            ("#status", self.status),
            ("#lock", self.lock),
            ("#claims", self.claims),
            ("#renewals", self.renewals),
            ("#lock_at", self.lock_at),
            ("#last_lock", self.last_lock),
            ("#retry", self.retry),
            ("#errors", self.errors),
            ("#create_at", self.create_at),
            ("#update_at", self.update_at),
            ("#run_at", self.run_at),
            ("#queue", self.queue),
            ("#due", self.due),
        ]
    }

    /// A name that two attributes have.
    pub(crate) fn clash(&self, key: &KeyAttributes) -> Option<&'static str> {
        let roles = self.roles();
        let mut names: Vec<_> = roles.iter().map(|(_, name)| *name).collect();
        names.push(key.partition);
        names.extend(key.sort);
        names.sort_unstable();
        names
            .windows(2)
            .find(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
    }

    /// Whether this crate writes the attribute.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.roles().iter().any(|(_, own)| *own == name)
    }
}

/// The names of the attributes of a table's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyAttributes {
    pub(crate) partition: &'static str,
    pub(crate) sort: Option<&'static str>,
}

impl KeyAttributes {
    /// A table with a partition key alone.
    #[must_use]
    pub const fn partition(name: &'static str) -> Self {
        Self {
            partition: name,
            sort: None,
        }
    }

    /// A table with a partition key and a sort key. [`Tracked::Key`](crate::Tracked::Key)
    /// is then a pair.
    #[must_use]
    pub const fn with_sort(partition: &'static str, sort: &'static str) -> Self {
        Self {
            partition,
            sort: Some(sort),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.partition == name || self.sort == Some(name)
    }
}
