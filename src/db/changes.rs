//! How a connection learns that other connections have changed a table.

use std::collections::BTreeSet;

use diesel::QueryResult;

use crate::table_info::TableInfo;

/// How a database tells a connection what others have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(dead_code)
)]
pub(crate) enum Tells {
    /// It sends notifications, by a channel for each table.
    Notifications,
    /// It shows that somebody has changed the file.
    FileVersion,
    /// It does not.
    Nothing,
}

/// The channel of one table: the number of the table in its database. A partition has
/// that of its whole table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel(u32);

/// What has changed since the last question.
#[derive(Debug, Default)]
pub struct Changes {
    /// Any table may have.
    pub(crate) anywhere: bool,
    /// The tables of these channels have.
    channels: BTreeSet<Channel>,
}

impl Changes {
    /// Whether the table with this channel, or without one, may have changed.
    pub(crate) fn concern(&self, channel: Option<Channel>) -> bool {
        self.anywhere || channel.is_some_and(|channel| self.channels.contains(&channel))
    }
}

/// The version of a file when it was last looked at.
#[derive(Debug, Default)]
pub struct Version(#[cfg_attr(not(feature = "sqlite"), allow(dead_code))] Option<i32>);

/// A connection that can tell what other connections have changed. Each
/// [`TrackerConnection`](crate::TrackerConnection) has this.
pub trait TellsChanges: Sized {
    /// Whether it hears what `other`, a connection to the same database, notifies.
    #[doc(hidden)]
    fn hears(&mut self, other: &mut Self) -> QueryResult<bool> {
        let _ = other;
        Ok(true)
    }

    /// The channel of this table, if it has one.
    #[doc(hidden)]
    fn channel(&mut self, table: &TableInfo) -> QueryResult<Option<Channel>> {
        let _ = table;
        Ok(None)
    }

    /// Listens to this channel. Returns whether the table notifies at all.
    #[doc(hidden)]
    fn listen(&mut self, channel: Channel) -> QueryResult<bool> {
        let _ = channel;
        Ok(true)
    }

    /// Ends what [`listen`](Self::listen) has begun.
    #[doc(hidden)]
    fn unlisten(&mut self, channel: Channel) -> QueryResult<()> {
        let _ = channel;
        Ok(())
    }

    /// What has changed since the last call. It returns at once.
    #[doc(hidden)]
    fn changes(&mut self, known: &mut Version) -> QueryResult<Changes> {
        let _ = known;
        Ok(Changes::default())
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use diesel::prelude::*;
    use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
    use diesel::sql_types::Integer;
    use diesel::sqlite::Sqlite;

    use super::{Changes, TellsChanges, Version};
    use crate::db::connection::cause_of;
    use crate::db::database_error::Cause;

    /// Prepared once, unlike Diesel's plain SQL.
    #[derive(QueryId)]
    struct DataVersion;

    impl Query for DataVersion {
        type SqlType = Integer;
    }

    impl RunQueryDsl<SqliteConnection> for DataVersion {}

    impl QueryFragment<Sqlite> for DataVersion {
        fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
            out.push_sql("PRAGMA data_version");
            Ok(())
        }
    }

    impl TellsChanges for SqliteConnection {
        fn changes(&mut self, known: &mut Version) -> QueryResult<Changes> {
            let version = match DataVersion.get_result(self) {
                // Without a write-ahead log, a commit keeps readers out.
                Err(error) if cause_of(self, &error) == Cause::Conflict => {
                    return Ok(Changes::default());
                }
                version => Some(version?),
            };
            let before = std::mem::replace(&mut known.0, version);
            Ok(Changes {
                anywhere: before != version,
                ..Changes::default()
            })
        }
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::thread;
    use std::time::{Duration, Instant};

    use diesel::connection::SimpleConnection;
    use diesel::dsl::sql;
    use diesel::prelude::*;
    use diesel::sql_types::{Bool, Nullable, Oid, Text};

    use super::{Changes, Channel, TellsChanges, Version};
    use crate::table_info::TableInfo;

    /// What the names of all channels begin with. The function that notifies has it too.
    const PREFIX: &str = "status_tracker_";
    /// The first half of the number of an advisory lock: `trak`. Listeners share the
    /// lock, so that others see that there are any. The second half is the table's number.
    const LOCK: u64 = 0x7472_616b << 32;

    /// How long a notification may take from one session to the other.
    const DELIVERY: Duration = Duration::from_secs(1);
    const TICK: Duration = Duration::from_millis(2);

    impl Channel {
        fn name(self) -> String {
            format!("{PREFIX}{}", self.0)
        }

        fn named(name: &str) -> Option<Self> {
            let number = name.strip_prefix(PREFIX)?;
            number.parse().ok().map(Self)
        }

        fn lock(self) -> u64 {
            LOCK | u64::from(self.0)
        }
    }

    impl TellsChanges for PgConnection {
        /// Behind a pooler, which gives each transaction another session, it does not.
        fn hears(&mut self, other: &mut Self) -> QueryResult<bool> {
            let name = format!("{PREFIX}check_{}", uuid::Uuid::new_v4().simple());
            self.batch_execute(&format!("LISTEN {name}"))?;
            let notify = sql::<Bool>("pg_notify(").bind::<Text, _>(&name);
            diesel::select(notify.sql(", '') IS NOT NULL")).execute(other)?;
            let begun = Instant::now();
            let mut hears = false;
            while !hears && begun.elapsed() < DELIVERY {
                for notification in self.notifications_iter() {
                    hears |= notification?.channel == name;
                }
                thread::sleep(TICK);
            }
            self.batch_execute(&format!("UNLISTEN {name}"))?;
            Ok(hears)
        }

        fn channel(&mut self, table: &TableInfo) -> QueryResult<Option<Channel>> {
            let number = sql::<Nullable<Oid>>(
                "(SELECT coalesce(pg_partition_root(found), found)::oid FROM to_regclass(",
            );
            let number = number
                .bind::<Text, _>(&table.quoted('"').table)
                .sql(") AS found)");
            let number: Option<u32> = diesel::select(number).get_result(self)?;
            number
                .map(|number| Some(Channel(number)))
                .ok_or(diesel::NotFound)
        }

        fn listen(&mut self, channel: Channel) -> QueryResult<bool> {
            // Whoever tries the lock alone holds it for a moment.
            self.batch_execute(&format!(
                "LISTEN {}; SET lock_timeout = '1s'; SELECT pg_advisory_lock_shared({})",
                channel.name(),
                channel.lock()
            ))?;
            let notifies = format!(
                "EXISTS (SELECT FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid \
                 WHERE tgrelid = {} AND strpos(prosrc, 'pg_notify') > 0)",
                channel.0
            );
            diesel::select(sql::<Bool>(&notifies)).get_result(self)
        }

        fn unlisten(&mut self, channel: Channel) -> QueryResult<()> {
            self.batch_execute(&format!(
                "UNLISTEN {}; SELECT pg_advisory_unlock_shared({})",
                channel.name(),
                channel.lock()
            ))
        }

        fn changes(&mut self, _: &mut Version) -> QueryResult<Changes> {
            let mut changes = Changes::default();
            for notification in self.notifications_iter() {
                changes
                    .channels
                    .extend(Channel::named(&notification?.channel));
            }
            Ok(changes)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_channel_is_found_by_its_name_and_no_other_is() {
            let channel = Channel(u32::MAX);
            assert_eq!(Channel::named(&channel.name()), Some(channel));
            assert!(channel.name().len() < 64, "a name of PostgreSQL's");
            assert!(i64::try_from(channel.lock()).is_ok(), "a BIGINT");
            assert_eq!(Channel::named("status_tracker_check_1"), None);
            assert_eq!(Channel::named("mine_7"), None);
        }
    }
}

#[cfg(feature = "mysql")]
impl TellsChanges for diesel::MysqlConnection {}
