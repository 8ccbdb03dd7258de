//! Names of a database as names of Rust.

use std::collections::BTreeSet;

/// Rust's own words, and what `table!` calls things.
const TAKEN: &[&str] = &[
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "struct",
    "super",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield", // Rust's
    "all_columns",
    "columns",
    "dsl",
    "star",
    "table", // those of `table!`
];

/// A name for a module, a column or a field, other than those that are used already.
pub(super) fn variable(name: &str, used: &mut BTreeSet<String>) -> String {
    let letters = name.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() || c == '_' => c.to_ascii_lowercase(),
        _ => '_',
    });
    let mut variable: String = letters.collect();
    if !variable.starts_with(|c: char| c.is_ascii_lowercase()) {
        variable.insert_str(0, "c_");
    }
    while TAKEN.contains(&&*variable) || !used.insert(variable.clone()) {
        variable.push('_');
    }
    variable
}

/// A name for a type: `order_items` is `OrderItems`.
pub(super) fn type_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let mut camel: String = words
        .filter(|word| !word.is_empty())
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        })
        .collect();
    if !camel.starts_with(|c: char| c.is_ascii_alphabetic()) {
        camel.insert(0, 'T');
    }
    camel
}

/// One of what a table has many of: `invoices` is of `invoice`.
pub(super) fn singular(table: &str) -> String {
    if let Some(stem) = table.strip_suffix("ies") {
        return format!("{stem}y");
    }
    for ending in ["sses", "xes", "ches", "shes"] {
        if table.ends_with(ending) {
            return table[..table.len() - 2].into();
        }
    }
    match table.strip_suffix('s') {
        Some(stem) if !stem.ends_with('s') && !stem.is_empty() => stem.into(),
        _ => table.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_names_of_rust() {
        let mut used = BTreeSet::from(["jobs".to_owned()]);
        let names = ["type", "Sent To", "sent_to", "1st", "jobs", "é"];
        let variables = names.map(|name| variable(name, &mut used));
        assert_eq!(
            variables,
            ["type_", "sent_to", "sent_to_", "c_1st", "jobs_", "c__"]
        );
        assert_eq!(type_name("order-items"), "OrderItems");
        assert_eq!(type_name("2fa"), "T2fa");
        let of = ["invoices", "categories", "boxes", "glass", "data"];
        assert_eq!(
            of.map(singular),
            ["invoice", "category", "box", "glass", "data"]
        );
    }
}
