//! The first description of a table is one that the console reads.

use diesel_status_console::{Description, describe, migration, tracking};
use diesel_status_tracker::Role;

use crate::database::{Kind, databases};

#[test]
fn a_tracked_table_is_described_as_it_is() {
    for database in databases() {
        database.sql("CREATE TABLE invoices (id INTEGER NOT NULL PRIMARY KEY)");
        let catalog = database.catalog("invoices");
        let columns = [
            (Role::Status, "state".to_owned()),
            (Role::Lock, "lease".into()),
            (Role::RunAt, "not_before".into()),
        ];
        let info = tracking(&catalog, &columns, &[]).unwrap();
        database.sql(&migration(&catalog, &info, None).unwrap().up);

        let text = describe(&database.catalog("invoices"), "DATABASE_URL");
        let description =
            Description::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let described = &description.tables[0].info;
        for (_, role) in Role::ALL {
            assert_eq!(described.column(role), info.column(role), "{text}");
            assert_eq!(described.is_zoned(role), info.is_zoned(role), "{text}");
        }
        assert_eq!(described.key().collect::<Vec<_>>(), ["id"]);
        assert_eq!(described.retry(), info.retry());
        let is_text = database.kind == Kind::Sqlite;
        assert_eq!(
            described.errors() == diesel_status_tracker::ErrorsType::Text,
            is_text
        );
        assert_eq!(described.steps()[0].codes(), info.steps()[0].codes());
    }
}

#[test]
fn what_is_missing_stands_in_a_comment_and_is_refused() {
    for database in databases() {
        database.sql(
            "CREATE TABLE `odd name` (id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL)"
                .replace('`', database.pick("\"", "\"", "`"))
                .as_str(),
        );
        let text = describe(&database.catalog("odd name"), "DATABASE_URL");
        assert!(
            text.starts_with("[tables.\"odd name\"]\nurl_env = \"DATABASE_URL\"\nkey = [\"id\"]\n"),
            "{text}"
        );
        for role in [
            "create_at",
            "update_at",
            "lock",
            "lock_at",
            "retry",
            "errors",
        ] {
            assert!(text.contains(&format!("# {role} = ")), "{text}");
        }
        assert!(
            !text.contains("run_at") && !text.contains("# status"),
            "{text}"
        );
    }
}

#[test]
fn the_words_of_an_enum_become_the_codes() {
    for database in databases() {
        if database.kind == Kind::Sqlite {
            continue;
        }
        database.sql(database.pick(
            "",
            "CREATE TYPE mail_state AS ENUM ('Ready', 'sending', 'sent', 'failed', 'dropped'); CREATE TABLE mails (id uuid PRIMARY KEY, state mail_state NOT NULL)",
            "CREATE TABLE mails (id INTEGER PRIMARY KEY, state ENUM('Ready', 'sending', 'sent', 'failed', 'dropped') NOT NULL)",
        ));
        let text = describe(&database.catalog("mails"), "MAIL_URL");
        assert!(text.contains("pending = \"Ready\"\nin_progress = \"sending\"\nfailed = \"failed\"\nsucceeded = \"sent\"\nignored = \"dropped\"\n"), "{text}");
    }
}
