//! Described tables whose keys, names and statuses are of each kind.

use std::time::Duration;

use diesel_status_tracker::{
    DescribedTable, ErrorsType, JobQuery, RetryType, Role, RowKey, SortBy, StatusCode, StepCodes,
    StepInfo, TableBuilder, TableInfo,
};

use super::database::{BACKSLASH, QUOTE, TestDb, TestPool};

pub fn numbers() -> StepCodes {
    StepCodes {
        pending: 10.into(),
        in_progress: 20.into(),
        failed: 30.into(),
        succeeded: 40.into(),
        ignored: 50.into(),
    }
}

pub fn texts() -> StepCodes {
    StepCodes {
        pending: "new".into(),
        in_progress: "sending".into(),
        failed: "failed".into(),
        succeeded: "sent".into(),
        ignored: "dropped".into(),
    }
}

/// A table that is created with five rows.
pub struct Shape {
    /// Its name as SQL has it, in backticks.
    pub name: &'static str,
    /// The columns of its key, and those that no role has.
    pub columns: &'static str,
    /// Those of the key as SQL has them, in backticks.
    pub key: &'static str,
    pub key_values: [&'static str; 5],
    /// The same as text.
    pub keys: [RowKey; 5],
    pub status: &'static str,
    /// The type of times.
    pub time: &'static str,
    pub info: TableBuilder,
    pub codes: StepCodes,
}

impl Shape {
    pub fn of(key_type: &'static str, key_values: [&'static str; 5], keys: [&str; 5]) -> Self {
        Self {
            name: "`jobs_of_it`",
            columns: key_type,
            key: "`id`",
            key_values,
            keys: keys.map(RowKey::from),
            status: "INTEGER",
            time: "DATETIME(6)",
            info: TableInfo::named("jobs_of_it").key(["id"]).usual_columns(),
            codes: numbers(),
        }
    }

    /// Creates it: a failed row twice, an old succeeded one, and two in progress, whose
    /// locks are old.
    pub fn create(self, db: &TestDb) -> (DescribedTable, [RowKey; 5]) {
        let info = self.info.step(StepInfo::new("it", self.codes.clone()));
        let info = info.build().unwrap();
        let column = |role| format!("`{}`", info.column(role).unwrap().replace('`', "``"));
        let roles = [
            Role::Status,
            Role::CreateAt,
            Role::UpdateAt,
            Role::Lock,
            Role::LockAt,
            Role::Retry,
            Role::Errors,
        ];
        let [status, create_at, update_at, lock, lock_at, retry, errors] = roles.map(column);
        let (name, time) = (self.name, self.time);
        db.sql(&format!(
            "CREATE TABLE {name} ({}, {status} {} NOT NULL, {create_at} {time} NOT NULL, {update_at} {time} NOT NULL,
                {lock} VARCHAR(32), {lock_at} {time}, {retry} INTEGER NOT NULL, {errors} JSON NOT NULL, PRIMARY KEY ({}))",
            self.columns, self.status, self.key
        ));
        let codes = &self.codes;
        let written = |code: &StatusCode| match code {
            StatusCode::Number(number) => number.to_string(),
            StatusCode::Text(text) => format!("'{text}'"),
        };
        let rows = [
            (&codes.failed, "NULL"),
            (&codes.failed, "NULL"),
            (&codes.succeeded, "NULL"),
            (&codes.in_progress, "'dead'"),
            (&codes.in_progress, "'seen'"),
        ];
        let then = "'2020-01-01 00:00:00.000'";
        for ((code, token), key) in rows.iter().zip(self.key_values) {
            db.sql(&format!(
                "INSERT INTO {name} ({}, {status}, {create_at}, {update_at}, {lock}, {lock_at}, {retry}, {errors})
                    VALUES ({key}, {}, {then}, {then}, {token}, {then}, 2, '{{}}')",
                self.key,
                written(code)
            ));
        }
        (DescribedTable::new(info), self.keys)
    }

    /// Lets each call find its row.
    pub fn lives(self) {
        let db = TestDb::new();
        let codes = self.codes.clone();
        let (table, keys) = self.create(&db);
        let pool = db.pool(2);
        each_call_finds_its_row(&pool, &table, &keys, &codes);
    }
}

pub fn each_call_finds_its_row(
    pool: &TestPool,
    table: &DescribedTable,
    keys: &[RowKey; 5],
    codes: &StepCodes,
) {
    let step = table.step("it").unwrap();
    let query = JobQuery::of([codes.failed.clone()])
        .sorted_by(SortBy::CreateAt)
        .limit(1);
    let first = table.list(pool, &query).unwrap();
    let place = first.jobs[0].place(SortBy::CreateAt);
    let second = table
        .list(pool, &query.clone().after(place.clone()))
        .unwrap();
    let back = table
        .list(pool, &query.before(second.jobs[0].place(SortBy::CreateAt)))
        .unwrap();
    assert!(first.has_more && !second.has_more && !back.has_more);
    assert_eq!(back.jobs[0].key, first.jobs[0].key);
    let mut listed = [&first.jobs[0].key, &second.jobs[0].key];
    listed.sort();
    let mut failed = [&keys[0], &keys[1]];
    failed.sort();
    assert_eq!(listed, failed);

    for (key, status) in keys
        .iter()
        .zip([&codes.failed, &codes.failed, &codes.succeeded])
    {
        assert_eq!(&table.find(pool, key).unwrap().unwrap().status, status);
        assert!(table.row(pool, key, 50).unwrap().is_some());
    }
    let seen = table
        .find(pool, &keys[4])
        .unwrap()
        .unwrap()
        .seen_lock()
        .unwrap();
    step.expire(pool, &keys[4], &seen).unwrap();
    assert_eq!(step.expire_locks(pool).unwrap(), 1);
    let hour = Duration::from_secs(60 * 60);
    assert_eq!(
        table
            .prune(pool, std::slice::from_ref(&codes.succeeded), hour)
            .unwrap(),
        1
    );
    step.reset(pool, &keys[0]).unwrap();
    let many = step
        .reset_many(pool, [&keys[0], &keys[1], &keys[3]])
        .unwrap();
    assert_eq!((many.count, many.passed_over.len()), (3, 0), "{many:?}");
    let seen = || table.find(pool, &keys[3]).unwrap().unwrap().seen();
    let before = seen();
    step.ignore_if_unchanged(pool, &keys[3], &before, "no more")
        .unwrap();
    let late = step.reset_if_unchanged(pool, &keys[3], &before);
    assert_err!(late.unwrap_err(), JobChanged);
    step.reset_if_unchanged(pool, &keys[3], &seen()).unwrap();
    step.ignore(pool, &keys[3], "no more").unwrap();
    let mut counts = table.count_by_status(pool).unwrap();
    counts.sort_by_key(|(status, _)| *status != codes.pending);
    // The third failure in a row.
    assert_eq!(
        counts,
        [(codes.pending.clone(), 2), (codes.ignored.clone(), 2)]
    );
}

#[test]
fn keys_that_are_text() {
    let literals = ["'a'", "'b'", "'c d'", "'é'", "'it''s'"];
    Shape::of(
        "id VARCHAR(20) NOT NULL",
        literals,
        ["a", "b", "c d", "é", "it's"],
    )
    .lives();
}

#[test]
fn keys_that_are_padded() {
    let literals = ["'a'", "'b'", "'c'", "'d'", "'e'"];
    Shape::of("id CHAR(6) NOT NULL", literals, ["a", "b", "c", "d", "e"]).lives();
}

#[test]
fn keys_that_are_numbers() {
    let texts = [
        "1",
        "-2",
        "9007199254740993",
        "9007199254740992",
        "9223372036854775807",
    ];
    Shape::of("id BIGINT NOT NULL", texts, texts).lives();
}

#[test]
fn keys_that_are_dates() {
    let literals = [
        "'2026-01-01'",
        "'2026-01-02'",
        "'2026-01-03'",
        "'2026-01-04'",
        "'2026-01-05'",
    ];
    let texts = [
        "2026-01-01",
        "2026-01-02",
        "2026-01-03",
        "2026-01-04",
        "2026-01-05",
    ];
    Shape::of("id DATE NOT NULL", literals, texts).lives();
}

const UUIDS: [&str; 5] = [
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
    "1e500000-0000-4000-8000-000000000003",
    "00000000-0000-4000-8000-00000000000a",
    "ffffffff-0000-4000-8000-000000000005",
];

#[test]
fn keys_that_are_uuids() {
    let literals = [
        "'00000000-0000-4000-8000-000000000001'",
        "'00000000-0000-4000-8000-000000000002'",
        "'1e500000-0000-4000-8000-000000000003'",
        "'00000000-0000-4000-8000-00000000000a'",
        "'ffffffff-0000-4000-8000-000000000005'",
    ];
    Shape::of("id UUID NOT NULL", literals, UUIDS).lives();
}

#[test]
fn keys_of_several_columns_with_names_of_their_own_and_statuses_that_are_text() {
    let info = TableInfo::named("own_invoices")
        .key(["tenant", "number", "created"])
        .column(Role::Status, "state")
        .column(Role::CreateAt, "created on")
        .column(Role::UpdateAt, "changed")
        .column(Role::Lock, "lease")
        .column(Role::LockAt, "leased_at")
        .column(Role::Retry, "failures")
        .column(Role::Errors, "problems")
        .retry(RetryType {
            bits: 32,
            is_signed: true,
        })
        .errors(ErrorsType::Json);
    Shape {
        name: "`own_invoices`",
        columns: "tenant BIGINT NOT NULL, number VARCHAR(20) NOT NULL, created DATE NOT NULL",
        key: "tenant, number, created",
        key_values: [
            "1, 'a', '2026-01-01'",
            "1, 'b', '2026-01-01'",
            "2, 'a', '2026-01-01'",
            "2, 'a', '2026-01-02'",
            "2, 'b', '2026-01-02'",
        ],
        keys: [
            ["1", "a", "2026-01-01"],
            ["1", "b", "2026-01-01"],
            ["2", "a", "2026-01-01"],
            ["2", "a", "2026-01-02"],
            ["2", "b", "2026-01-02"],
        ]
        .map(RowKey::from),
        status: "VARCHAR(10)",
        info,
        codes: texts(),
        ..Shape::of("", [""; 5], [""; 5])
    }
    .lives();
}

/// What stands in quotes in one database stands in none in another.
const HOSTILE: &str = "a\"b`c'; DROP TABLE jobs; -- \\ ${x} :key [é]";

#[test]
fn hostile_names_and_keys_do_no_harm() {
    let db = TestDb::new();
    // Backticks are turned into quotes for PostgreSQL, so these are written apart.
    let quoted = match QUOTE {
        '"' => format!("\"{}\"", HOSTILE.replace('"', "\"\"")),
        _ => format!("`{}`", HOSTILE.replace('`', "``")),
    };
    let lock = format!("{HOSTILE}2");
    let quoted_lock = quoted.replace("[é]", "[é]2");
    db.raw_sql(&format!(
        "CREATE TABLE {quoted} ({quoted} VARCHAR(200) NOT NULL PRIMARY KEY, status INTEGER NOT NULL,
            create_at TIMESTAMP NULL, update_at TIMESTAMP NULL, {quoted_lock} VARCHAR(32), lock_at TIMESTAMP NULL,
            retry INTEGER NOT NULL, errors JSON NOT NULL)"
    ));
    let insert = |key: &str| {
        let key = key.replace('\\', BACKSLASH).replace('\'', "''");
        db.raw_sql(&format!(
            "INSERT INTO {quoted} VALUES ('{key}', 30, NULL, NULL, NULL, NULL, 0, '{{}}')"
        ));
    };
    let keys = [
        HOSTILE,
        "' OR ''='",
        "\") OR (1=1",
        "%",
        "\\",
        "null",
        "{\"id\": 1}",
    ];
    keys.iter().for_each(|key| insert(key));
    let info = TableInfo::named(HOSTILE)
        .key([HOSTILE])
        .column(Role::Lock, lock)
        .usual_columns()
        .time(Role::CreateAt, false, true)
        .time(Role::UpdateAt, false, true)
        .step(StepInfo::new(HOSTILE, numbers()))
        .build()
        .unwrap();
    let table = DescribedTable::new(info);
    let step = table.step(HOSTILE).unwrap();
    let pool = db.pool(1);

    // NULL is before all times, so that the keys alone decide.
    let query = JobQuery::of([30.into()]).limit(1);
    let mut found = Vec::new();
    let mut page = table.list(&pool, &query).unwrap();
    while let Some(job) = page.jobs.pop() {
        found.push(job.key.parts()[0].clone());
        let after = query.clone().after(job.place(SortBy::UpdateAt));
        page = table.list(&pool, &after).unwrap();
    }
    found.sort();
    let mut sorted = keys;
    sorted.sort_unstable();
    assert_eq!(found, sorted);
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(
            table.find(&pool, *key).unwrap().unwrap().key.parts(),
            [*key]
        );
        let columns = table.row(&pool, *key, 300).unwrap().unwrap();
        assert_eq!(columns[0].name, HOSTILE);
        assert_eq!(columns[0].text.as_deref(), Some(*key));
        step.reset(&pool, *key).unwrap();
        step.ignore(&pool, *key, HOSTILE).unwrap();
        let ignored = table.list(&pool, &JobQuery::of([50.into()])).unwrap();
        assert_eq!(ignored.jobs.len(), n + 1);
    }
    let many = step.reset_many(&pool, keys).unwrap();
    assert_eq!(many.count, keys.len(), "{many:?}");
    assert_eq!(table.count_by_status(&pool).unwrap(), [(10.into(), 7)]);
    let own = super::described::described();
    assert!(
        own.count_by_status(&pool).unwrap().is_empty(),
        "`jobs` is gone"
    );
}

#[test]
fn a_key_that_is_no_value_of_its_column_is_an_error_of_its_own() {
    let db = TestDb::new();
    let texts = ["1", "2", "3", "4", "5"];
    let (table, _) = Shape::of("id BIGINT NOT NULL", texts, texts).create(&db);
    let step = table.step("it").unwrap();
    let pool = db.pool(1);
    for key in [
        "1x",
        "x",
        "",
        " ",
        "1;",
        "1 OR 1=1",
        "99999999999999999999",
        "1.5",
    ] {
        match table.find(&pool, key) {
            Ok(found) => assert!(found.is_none(), "{key}"),
            Err(error) => {
                assert_err!(error, Database);
                assert!(error.to_string().contains(&format!("{key:?}")), "{error}");
            }
        }
        let error = step.reset(&pool, key).unwrap_err();
        assert!(
            error.to_string().contains(&format!("jobs_of_it {key:?}")),
            "{error}"
        );
        let error = step.ignore(&pool, key, "none").unwrap_err();
        assert!(
            error.to_string().contains(&format!("jobs_of_it {key:?}")),
            "{error}"
        );
    }
    assert_eq!(table.find(&pool, "1").unwrap().unwrap().status, 30.into());

    // The others are reset all the same.
    let many = step.reset_many(&pool, ["1", "1x", "2", "x"]).unwrap();

    assert_eq!(many.count, 2, "{many:?}");
    let told: Vec<_> = many
        .passed_over
        .iter()
        .map(|job| job.key.parts()[0].as_str())
        .collect();
    assert_eq!(told, ["1x", "x"]);
    assert_eq!(table.find(&pool, "3").unwrap().unwrap().status, 40.into());
}
