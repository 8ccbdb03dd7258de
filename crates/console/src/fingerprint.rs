//! What is the same in errors that differ only in numbers, ids and quoted parts.

use diesel_status_tracker::ErrorLog;

/// A fingerprint has no more letters than this.
const LETTERS: usize = 200;

/// The newest error of a document that may have been cut.
pub(crate) fn newest_error(document: &str) -> Option<String> {
    match serde_json::from_str::<serde_json::Value>(document) {
        Ok(document) => ErrorLog::read(&document)
            .newest()
            .map(|entry| entry.error.clone()),
        Err(_) => Some(cut_error(document).unwrap_or_else(|| document.to_owned()))
            .filter(|text| !text.trim().is_empty()),
    }
}

/// The text of the field `error` in a document that was cut.
fn cut_error(document: &str) -> Option<String> {
    if !document.starts_with('{') {
        return None;
    }
    let (_, rest) = document.split_once("\"error\"")?;
    let rest = rest
        .trim_start()
        .strip_prefix(':')?
        .trim_start()
        .strip_prefix('"')?;
    let mut is_escaped = false;
    let end = rest.find(|c| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    // An escape may have been cut: at most a pair of `\uXXXX`.
    let text = &rest[..end.unwrap_or(rest.len())];
    let longest = text.len();
    (0..=12.min(longest)).find_map(|less| {
        let text = text.get(..longest - less)?;
        serde_json::from_str(&format!("\"{text}\"")).ok()
    })
}

/// The first line of an error with `…` for quoted parts and `#` for what holds a
/// number.
pub(crate) fn fingerprint(error: &str) -> String {
    let line = error
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    // What is far behind does not tell more, and an error may be a text of megabytes.
    let line: String = line.trim().chars().take(4 * LETTERS).collect();
    let mut found = String::new();
    let mut rest = &*line;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        // An apostrophe within a word is none of a quotation.
        let follows_word = found.chars().next_back().is_some_and(char::is_alphanumeric);
        if matches!(c, '"' | '`' | '\'')
            && !follows_word
            && let Some(end) = after.find(c)
        {
            found.extend([c, '…', c]);
            rest = &after[end + c.len_utf8()..];
            continue;
        }
        let is_of_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '+');
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        if end == 0 {
            found.push(c);
            rest = after;
            continue;
        }
        let word = &rest[..end];
        let kept = word.trim_end_matches(['.', ':', '-']);
        match kept.chars().any(|c| c.is_ascii_digit()) {
            true => {
                found.push('#');
                found.push_str(&word[kept.len()..]);
            }
            false => found.push_str(word),
        }
        rest = &rest[end..];
    }
    match found.char_indices().nth(LETTERS) {
        None => found,
        Some((end, _)) => format!("{}…", &found[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_differ_in_numbers_ids_and_quotes_have_one_fingerprint() {
        for (error, expected) in [
            (
                "timeout after 30s: host 10.0.0.7:443 is down",
                "timeout after #: host # is down",
            ),
            (
                "no invoice 4fa3-77b2 of 'Ada & Co.'\nmore",
                "no invoice # of '…'",
            ),
            (
                "can't read \"a.txt\", isn't there",
                "can't read \"…\", isn't there",
            ),
            ("  \n späte Antwort: 5.", "späte Antwort: #."),
            ("it's \"open", "it's \"open"),
            ("", ""),
        ] {
            assert_eq!(fingerprint(error), expected);
        }
        let long = fingerprint(&"ab ".repeat(1_000_000));
        assert_eq!(long.chars().count(), LETTERS + 1);
    }

    #[test]
    fn the_error_is_found_in_a_document_that_was_cut() {
        let document = r#"{"at":"x","attempt":1,"error":"say \"no\" \u00e9 now","history":[]}"#;
        assert_eq!(newest_error(document).unwrap(), "say \"no\" é now");
        let cut = |to: &str| newest_error(&document[..document.find(to).unwrap()]).unwrap();
        assert_eq!(cut("history"), "say \"no\" é now");
        assert_eq!(cut("9 now"), "say \"no\" ");
        assert_eq!(cut("\"no"), "say ");
        assert_eq!(newest_error("{}"), None);
        assert_eq!(newest_error("").as_deref(), None);
        assert_eq!(newest_error("no JSON").unwrap(), "no JSON");
        assert_eq!(newest_error(r#"{"note":"é"#).unwrap(), r#"{"note":"é"#);
    }
}
