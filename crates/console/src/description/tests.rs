use super::*;

const JOBS: &str = r#"
[tables.jobs]
url = "sqlite://jobs.db"
key = ["id"]

[tables.jobs.steps.job]
pending = 10
in_progress = 20
failed = 30
succeeded = 40
ignored = 50
"#;

/// The line and the message that the description gets with this change.
fn refusal(from: &str, to: &str) -> (usize, String) {
    let text = JOBS.replacen(from, to, 1);
    assert_ne!(text, JOBS);
    match Description::parse(&text).unwrap_err() {
        Error::Description { line, problem } => (line, problem),
        other => panic!("{other}"),
    }
}

#[test]
fn a_short_description_has_the_usual_names() {
    let description = Description::parse(JOBS).unwrap();
    let [entry] = &*description.tables else {
        panic!("{description:?}");
    };
    assert_eq!(entry.name, "jobs");
    assert_eq!(entry.url, DatabaseUrl::Given("sqlite://jobs.db".into()));
    assert_eq!(entry.info.column(Role::LockAt), Some("lock_at"));
    assert_eq!(entry.info.column(Role::RunAt), None);
    assert_eq!(entry.info.steps()[0].codes().failed, 30.into());
    assert!(entry.info.is_nullable(Role::LockAt));
}

#[test]
fn what_is_said_of_columns_and_steps_arrives() {
    let more = "key = [\"id\"]\nschema = \"main\"\ntable = \"work\"\nerrors = \"text\"\nretry = \"u8\"\nhide = [\"iban\"]\n\
        zoned = [\"lock_at\"]\nnullable = [\"update_at\"]\ncolumns = { lock = \"lease\", run_at = \"due\" }";
    let text = JOBS.replace("key = [\"id\"]", more)
        + "lock_expire_seconds = 7\nmax_retry = 9\nmore_pending = [\"x\"]\n";
    let text = text
        .replace("0\n", "\n")
        .replace("= 1\n", "= \"a\"\n")
        .replace("= 2\n", "= \"b\"\n");
    let text = text
        .replace("= 3\n", "= \"c\"\n")
        .replace("= 4\n", "= \"d\"\n")
        .replace("= 5\n", "= \"e\"\n");
    let description = Description::parse(&text).unwrap();
    let info = &description.tables[0].info;
    assert_eq!(info.full_name(), "main.work");
    assert_eq!(info.column(Role::Lock), Some("lease"));
    assert_eq!(info.column(Role::RunAt), Some("due"));
    assert_eq!(info.errors(), ErrorsType::Text);
    assert_eq!((info.retry().bits, info.retry().is_signed), (8, false));
    assert_eq!(info.hidden(), ["iban"]);
    assert!(info.is_zoned(Role::LockAt) && !info.is_zoned(Role::CreateAt));
    assert!(info.is_nullable(Role::UpdateAt) && !info.is_nullable(Role::CreateAt));
    let step = &info.steps()[0];
    assert_eq!(
        (step.lock_expire(), step.max_retry()),
        (Duration::from_secs(7), 9)
    );
    assert_eq!(step.codes().ignored, "e".into());
    assert_eq!(step.more_pending(), ["x".into()]);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let (line, problem) = refusal("key =", "keys =");
    assert_eq!(line, 4, "{problem}");
    assert!(problem.contains("unknown field `keys`"), "{problem}");

    let (line, problem) = refusal("failed = 30\n", "");
    assert_eq!(line, 6, "{problem}");
    assert!(problem.contains("missing field `failed`"), "{problem}");

    let (line, problem) = refusal("ignored = 50", "ignored = 20");
    assert_eq!(line, 11, "{problem}");
    assert!(
        problem.contains("ignored and in_progress of step `job` have the same code, 20"),
        "{problem}"
    );

    let (line, problem) = refusal("ignored = 50", "ignored = [50]");
    assert_eq!(line, 11, "{problem}");
    assert!(problem.contains("a number or text"), "{problem}");

    let (line, problem) = refusal("url = \"sqlite://jobs.db\"\n", "");
    assert_eq!(line, 2, "{problem}");
    assert!(problem.contains("needs either `url`"), "{problem}");

    let (line, problem) = refusal(
        "key = [\"id\"]",
        "key = [\"id\"]\ncolumns = { locked = \"lease\" }",
    );
    assert_eq!(line, 5, "{problem}");
    assert!(problem.contains("`locked` is no role"), "{problem}");

    let (line, problem) = refusal("key = [\"id\"]", "key = [\"id\"]\nzoned = [\"update\"]");
    assert_eq!(line, 5, "{problem}");
    assert!(problem.contains("`update` is no role"), "{problem}");

    let (line, problem) = refusal(
        "key = [\"id\"]",
        "key = [\"id\"]\nhide = [\"data\", \"id\"]",
    );
    assert_eq!(line, 5, "{problem}");
    assert!(problem.contains("`id` is part of the key"), "{problem}");

    let (_, problem) = refusal("key = [\"id\"]", "key = []");
    assert!(problem.contains("its key has no column"), "{problem}");

    let (line, problem) = refusal("ignored = 50", "ignored = 50\nlock_expire_seconds = 0");
    assert_eq!(line, 12, "{problem}");

    let (line, problem) = refusal("[tables.jobs.steps.job]", "[tables.jobs.steps.job");
    assert_eq!(line, 6, "{problem}");
}

#[test]
fn the_environment_is_asked_for_the_variable_that_is_named() {
    let text = JOBS.replace("url = \"sqlite://jobs.db\"", "url_env = \"JOBS_URL\"");
    let description = Description::parse(&text).unwrap();
    let entry = &description.tables[0];
    let url = entry.url(|name| (name == "JOBS_URL").then(|| "sqlite://x".into()));
    assert_eq!(url.unwrap(), "sqlite://x");
    let error = entry.url(|_| None).unwrap_err().to_string();
    assert!(
        error.contains("JOBS_URL") && error.contains("`jobs`"),
        "{error}"
    );
}
