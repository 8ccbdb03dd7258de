//! Fills the texts of [`statements`](super::statements): names, values, parts.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::statements;
use crate::item::Item;
use crate::tracked::Tracked;

/// Texts of one request, their names and their values.
///
/// DynamoDB refuses a name or a value that no text has, so names are collected from
/// the texts, and a value is given only where a text has it.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    roles: Vec<(&'static str, &'static str)>,
    texts: HashMap<&'static str, String>,
    names: HashMap<String, String>,
    values: Item,
}

/// The texts of an update.
pub(crate) const UPDATE: &str = "update";
pub(crate) const CONDITION: &str = "condition";
/// The texts of a search.
pub(crate) const KEYS: &str = "keys";
pub(crate) const FILTER: &str = "filter";
pub(crate) const PROJECTION: &str = "projection";

impl Expression {
    pub fn new<J: Tracked>() -> Self {
        let mut roles = J::ATTRIBUTES.roles().to_vec();
        roles.push(("#partition", J::KEY.partition));
        Self {
            roles,
            texts: HashMap::new(),
            names: HashMap::new(),
            values: Item::new(),
        }
    }

    /// Adds a text.
    pub fn text(mut self, kind: &'static str, text: &str) -> Self {
        let text = text
            .replace("{free}", statements::FREE)
            .replace("{due}", statements::DUE);
        let begins = |n: usize| {
            text.as_bytes()[n..]
                .iter()
                .take_while(|byte| is_word(**byte))
                .count()
        };
        for (at, _) in text.match_indices('#') {
            let role = &text[at..=at + begins(at + 1)];
            if let Some((_, name)) = self.roles.iter().find(|(own, _)| *own == role) {
                self.names.insert(role.to_owned(), (*name).to_owned());
            }
        }
        if text.contains(":null_type") {
            self.values
                .insert(":null_type".into(), AttributeValue::S("NULL".into()));
        }
        self.texts.insert(kind, text);
        self
    }

    /// Gives a value, if a text has it.
    pub fn value(mut self, name: &str, value: AttributeValue) -> Self {
        let has = |text: &String| {
            text.match_indices(name).any(|(at, _)| {
                let next = text.as_bytes().get(at + name.len());
                !next.is_some_and(|byte| is_word(*byte))
            })
        };
        if self.texts.values().any(has) {
            self.values.insert(name.to_owned(), value);
        }
        self
    }

    pub fn string(self, name: &str, value: impl Into<String>) -> Self {
        self.value(name, AttributeValue::S(value.into()))
    }

    pub fn number(self, name: &str, value: impl ToString) -> Self {
        self.value(name, AttributeValue::N(value.to_string()))
    }

    /// Fills `{statuses}`.
    pub fn statuses(mut self, statuses: Vec<AttributeValue>) -> Self {
        let names: Vec<_> = (0..statuses.len())
            .map(|n| format!(":status_{n}"))
            .collect();
        self.fill("{statuses}", &names.join(", "));
        for (name, value) in names.into_iter().zip(statuses) {
            self = self.value(&name, value);
        }
        self
    }

    /// Fills `{changes}` with assignments of the user's attributes.
    pub fn changes(mut self, changes: Item) -> Self {
        let mut text = String::new();
        for (n, (name, value)) in changes.into_iter().enumerate() {
            text += &format!(", #change_{n} = :change_{n}");
            self.names.insert(format!("#change_{n}"), name);
            self.values.insert(format!(":change_{n}"), value);
        }
        self.fill("{changes}", &text);
        self
    }

    /// Fills `{queued}`.
    pub fn queued(mut self, place: Option<(String, String)>) -> Self {
        let text = if place.is_some() {
            statements::QUEUED
        } else {
            ""
        };
        let update = self.texts.remove(UPDATE).unwrap_or_default();
        self = self.text(UPDATE, &update.replace("{queued}", text));
        match place {
            Some((queue, due)) => self.string(":queue", queue).string(":due", due),
            None => self,
        }
    }

    fn fill(&mut self, slot: &str, with: &str) {
        for text in self.texts.values_mut() {
            *text = text.replace(slot, with);
        }
    }

    pub fn get(&self, kind: &str) -> Option<String> {
        self.texts.get(kind).cloned()
    }

    pub fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    pub fn values(&self) -> Option<Item> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
