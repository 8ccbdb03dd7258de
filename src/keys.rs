//! A set of keys, which need not be hashable.

use std::collections::HashSet;
use std::fmt::Debug;

/// Keys, each once. Two keys are the same if they read the same.
#[derive(Debug, Clone)]
pub struct KeySet<K> {
    keys: Vec<K>,
    names: HashSet<String>,
}

impl<K> Default for KeySet<K> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            names: HashSet::new(),
        }
    }
}

impl<K: Clone + Debug> KeySet<K> {
    /// Adds a key, and tells whether it is new.
    pub fn insert(&mut self, key: &K) -> bool {
        let is_new = self.names.insert(format!("{key:?}"));
        if is_new {
            self.keys.push(key.clone());
        }
        is_new
    }

    /// Whether it holds this key.
    pub fn contains(&self, key: &K) -> bool {
        // The common set is empty, and a key need not be written for it.
        !self.keys.is_empty() && self.names.contains(&format!("{key:?}"))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, if there are any.
    pub fn some(&self) -> Option<&[K]> {
        (!self.is_empty()).then_some(&*self.keys)
    }
}

impl<K: Clone + Debug> Extend<K> for KeySet<K> {
    fn extend<T: IntoIterator<Item = K>>(&mut self, keys: T) {
        for key in keys {
            self.insert(&key);
        }
    }
}
