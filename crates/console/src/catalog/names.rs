//! Names as SQL has them.

use super::DatabaseKind;

impl DatabaseKind {
    /// A name as SQL has it.
    pub(crate) fn quoted(self, name: &str) -> String {
        let quote = if self == Self::Mysql { '`' } else { '"' };
        let doubled = name.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{doubled}{quote}")
    }

    /// A name as SQL has it, with quotes only where it needs them.
    pub(crate) fn written(self, name: &str) -> String {
        let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !RESERVED.contains(&name)
            && !(self == Self::Mysql && name == "lock");
        if is_plain {
            name.into()
        } else {
            self.quoted(name)
        }
    }
}

/// Words that names of columns often are, and that some database reserves.
const RESERVED: &[&str] = &[
    "all",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "both",
    "by",
    "case",
    "check",
    "collate",
    "column",
    "condition",
    "constraint",
    "create",
    "cross",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "database",
    "default",
    "delete",
    "desc",
    "describe",
    "distinct",
    "do",
    "drop",
    "else",
    "end",
    "except",
    "exists",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "groups",
    "having",
    "in",
    "index",
    "insert",
    "interval",
    "into",
    "is",
    "join",
    "key",
    "keys",
    "leading",
    "left",
    "like",
    "limit",
    "load",
    "match",
    "natural",
    "not",
    "null",
    "offset",
    "on",
    "option",
    "or",
    "order",
    "outer",
    "over",
    "partition",
    "primary",
    "range",
    "rank",
    "read",
    "references",
    "release",
    "rename",
    "replace",
    "return",
    "returning",
    "right",
    "row",
    "rows",
    "schema",
    "select",
    "set",
    "some",
    "system",
    "table",
    "then",
    "to",
    "trailing",
    "trigger",
    "true",
    "union",
    "unique",
    "update",
    "usage",
    "user",
    "using",
    "values",
    "when",
    "where",
    "window",
    "with",
    "write",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_sql_needs_it() {
        let written = |database: DatabaseKind, name| database.written(name);
        assert_eq!(written(DatabaseKind::Postgres, "update_at"), "update_at");
        assert_eq!(written(DatabaseKind::Mysql, "lock"), "`lock`");
        assert_eq!(
            written(DatabaseKind::Sqlite, "My \"x\""),
            "\"My \"\"x\"\"\""
        );
    }
}
