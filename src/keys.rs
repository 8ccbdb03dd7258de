//! Sets and maps of keys, which need not be hashable. The hash is that of the
//! key's `Debug` text. Different keys may have the same text, so they are compared.

use std::collections::HashMap;
use std::fmt::Debug;

/// A value for each of some keys.
#[derive(Debug, Clone)]
pub struct KeyMap<K, V>(HashMap<String, Vec<(K, V)>>);

impl<K, V> Default for KeyMap<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: PartialEq + Debug, V> KeyMap<K, V> {
    /// Sets the value of a key, and returns the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let same_text = self.0.entry(format!("{key:?}")).or_default();
        if let Some((_, old)) = same_text.iter_mut().find(|(other, _)| *other == key) {
            return Some(std::mem::replace(old, value));
        }
        same_text.push((key, value));
        None
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        // Most maps are empty. That saves writing the text.
        if self.0.is_empty() {
            return None;
        }
        let same_text = self.0.get(&format!("{key:?}"))?;
        let (_, value) = same_text.iter().find(|(other, _)| other == key)?;
        Some(value)
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &K) {
        if !self.0.is_empty() {
            let text = format!("{key:?}");
            if let Some(same_text) = self.0.get_mut(&text) {
                same_text.retain(|(other, _)| other != key);
                if same_text.is_empty() {
                    self.0.remove(&text);
                }
            }
        }
    }

    /// Keeps those whose values `is_kept` says to keep.
    pub fn retain(&mut self, is_kept: impl Fn(&V) -> bool) {
        self.0.retain(|_, same_text| {
            same_text.retain(|(_, value)| is_kept(value));
            !same_text.is_empty()
        });
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let all = self.0.values().flatten();
        all.map(|(key, value)| (key, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

/// Keys, each once, in the order in which they were inserted.
#[derive(Debug, Clone)]
pub struct KeySet<K> {
    keys: Vec<K>,
    known: KeyMap<K, ()>,
}

impl<K> Default for KeySet<K> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            known: KeyMap::default(),
        }
    }
}

impl<K: Clone + PartialEq + Debug> KeySet<K> {
    /// Adds a key, and tells whether it is new.
    pub fn insert(&mut self, key: &K) -> bool {
        let is_new = self.known.insert(key.clone(), ()).is_none();
        if is_new {
            self.keys.push(key.clone());
        }
        is_new
    }

    /// Whether it holds this key.
    pub fn contains(&self, key: &K) -> bool {
        self.known.get(key).is_some()
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

impl<K: Clone + PartialEq + Debug> Extend<K> for KeySet<K> {
    fn extend<T: IntoIterator<Item = K>>(&mut self, keys: T) {
        for key in keys {
            self.insert(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key whose text hides its value.
    #[derive(Clone, PartialEq)]
    struct Masked(u32);

    impl Debug for Masked {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("***")
        }
    }

    #[test]
    fn different_keys_with_the_same_text_stay_different() {
        let mut set = KeySet::default();
        assert!(set.insert(&Masked(1)) && set.insert(&Masked(2)));
        assert!(!set.insert(&Masked(2)));
        assert!(set.contains(&Masked(1)) && !set.contains(&Masked(3)));
        assert_eq!((set.len(), set.some().unwrap().len()), (2, 2));

        let mut map = KeyMap::default();
        for n in 0..4 {
            assert_eq!(map.insert(Masked(n), n), None);
        }
        assert_eq!(map.insert(Masked(3), 30), Some(3));
        map.remove(&Masked(1));
        map.retain(|n| *n != 2);
        let left: Vec<_> = map.iter().map(|(key, n)| (key.0, *n)).collect();
        assert_eq!((left, map.len()), (vec![(0, 0), (3, 30)], 2));
        assert_eq!(
            (map.get(&Masked(3)), map.get(&Masked(1))),
            (Some(&30), None)
        );
    }
}
