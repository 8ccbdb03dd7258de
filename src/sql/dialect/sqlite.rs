//! SQLite.

use super::{CastsText, Catalog, Dialect, Document, Reading, Several, Wait};

pub(crate) static SQLITE: Dialect = Dialect {
    number: 0,
    // In double quotes a name that no column has would be a string.
    quote: '`',
    has_returning: true,
    several: Several::OneWriter,
    has_arrays: false,
    // It takes no condition that is deeper than 1,000, and their number is rounded up.
    most_composite_keys: 500,
    infers_text: false,
    // Else SQLite plans the statement anew whenever the value is bound again: a limit
    // always, a key or a time where the table was analyzed. As part of an expression the
    // value is no part of the plan.
    before_value: "+",
    bears_token: ":lock = :token",
    // It locks the file.
    lock_rows: "",
    time,
    // To write a time is a twentieth of the work of a claim. The limit keeps SQLite from
    // putting the call back into both places.
    one_time: Some([
        "(SELECT tracker_now, tracker_now FROM (SELECT ",
        " AS tracker_now LIMIT 1))",
    ]),
    long_ago: |is_zoned| match is_zoned {
        true => "'1970-01-02 00:00:00+00:00'",
        false => "'1970-01-02 00:00:00'",
    },
    null_before_all: [" ASC", " DESC"],
    empty_document: |kind| match kind {
        Document::Jsonb => "jsonb('{}')",
        Document::Json | Document::Text => "'{}'",
    },
    unless_exists: " ON CONFLICT (:key) DO NOTHING",
    is_same: "IS",
    rows_of_insert: &[50],
    inserts_lists: false,
    has_default: false,
    no_retry: "0",
    // A primary key that is not an integer takes NULL.
    returns_made_keys: false,
    // Its busy timeout limits the wait for the file.
    wait: |_| Wait::EMPTY,
    text_type: "TEXT",
    casts_text: CastsText::AsCompared,
    // A column holds values of any type. Bytes are shown as people write them.
    cut: |column, _| {
        let text = format!("CAST({column} AS TEXT)");
        let hex = format!("'0x' || hex(substr({column}, 1, 4096))");
        let value = format!("CASE typeof({column}) WHEN 'blob' THEN {hex} ELSE {text} END");
        [format!("substr(CAST({value} AS BLOB), 1, "), ")".into()]
    },
    catalog: Catalog {
        name: "name",
        is_binary: "0",
        // 1 is a hidden column of a virtual table.
        rows: "pragma_table_xinfo(:table_text[, :schema_text]) WHERE hidden <> 1 ORDER BY cid",
    },
};

/// SQLite compares times as text: this is the format that Diesel writes, and
/// a 'T' between date and time would sort after it. It reads its clock once a
/// statement, and not before it may write.
fn time(reading: Reading, is_zoned: bool) -> [&'static str; 2] {
    match (reading, is_zoned) {
        (Reading::Now | Reading::Stamp, true) => ["strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')", ""],
        (Reading::Now | Reading::Stamp, false) => ["strftime('%Y-%m-%d %H:%M:%f', 'now')", ""],
        (Reading::Ago | Reading::Later, true) => [
            "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now', printf('%.6f seconds', ",
            " / 1000000.0))",
        ],
        (Reading::Ago | Reading::Later, false) => [
            "strftime('%Y-%m-%d %H:%M:%f', 'now', printf('%.6f seconds', ",
            " / 1000000.0))",
        ],
    }
}
