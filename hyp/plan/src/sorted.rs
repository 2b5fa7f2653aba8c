// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sorting, and lists that are kept sorted. The standard library's are faster on millions of items, and take
//! kilobytes of the image for each type that they are compiled for.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::borrow::Borrow;

/// Sorts by a number. What has the same one keeps its order.
pub fn sort_by_key<T>(items: &mut [T], key: impl Fn(&T) -> u64) {
    for (place, other) in swaps(items.iter().map(key).zip(0..).collect()) {
        items.swap(place, other);
    }
}

/// The swaps that sort what has these keys, each with its place beside it: so no key is there twice, any sort will do, and
/// all types share one.
#[inline(never)]
fn swaps(keys: Vec<(u64, usize)>) -> Vec<(usize, usize)> {
    if keys.is_sorted() {
        return Vec::new();
    }
    let sorted = BinaryHeap::from(keys).into_sorted_vec();
    let mut from: Vec<usize> = sorted.into_iter().map(|(_, from)| from).collect();
    let mut swaps = Vec::with_capacity(from.len());
    for start in 0..from.len() {
        // Round a circle of places, each of which is filled from the next and is then done.
        let mut place = start;
        while let Some(next) = from.get_mut(place).map(|from| core::mem::replace(from, place))
            && next != start
        {
            swaps.push((place, next));
            place = next;
        }
    }
    swaps
}

/// A map as a list in the order of its keys.
#[derive(Clone, Debug)]
pub struct Map<K, V>(Vec<(K, V)>);

impl<K: Ord, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord, V> Map<K, V> {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(other, _)| other.borrow().cmp(key))
    }

    /// The value of a key.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(self.place(key).ok()?).map(|(_, value)| value)
    }

    /// The value of a key, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// Whether there is a key.
    #[must_use]
    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    /// Adds a key; one that is there keeps its value, and that is an error.
    ///
    /// # Errors
    /// The value that the key has already.
    pub fn add(&mut self, key: K, value: V) -> Result<(), &V> {
        match self.place(&key) {
            Ok(place) => self.0.get(place).map_or(Ok(()), |(_, there)| Err(there)),
            Err(place) => {
                self.0.insert(place, (key, value));
                Ok(())
            }
        }
    }

    /// Takes a key out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        Some(self.0.remove(place).1)
    }

    /// The values, in the order of the keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// All of it, in the order of the keys.
    #[must_use]
    pub fn entries(&self) -> &[(K, V)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_sort_is_stable() {
        let mut items = vec![(3, 'a'), (1, 'b'), (3, 'c'), (1, 'd'), (2, 'e')];
        sort_by_key(&mut items, |(key, _)| *key);
        assert_eq!(items, [(1, 'b'), (1, 'd'), (2, 'e'), (3, 'a'), (3, 'c')]);
        // Every order of four, with all that are the same.
        for order in 0..256_u64 {
            let items: Vec<(u64, usize)> = (0..4).map(|place| (order >> (2 * place) & 3, place)).collect();
            let (mut ours, mut theirs) = (items.clone(), items);
            sort_by_key(&mut ours, |(key, _)| *key);
            theirs.sort();
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_map_keeps_the_first_value_of_each_key_in_order() {
        let mut map = Map::new();
        for (key, value) in [(5, 'a'), (1, 'b'), (3, 'c')] {
            assert_eq!(map.add(key, value), Ok(()));
        }
        assert_eq!(map.add(3, 'd'), Err(&'c'));
        assert_eq!(map.entries(), [(1, 'b'), (3, 'c'), (5, 'a')]);
        assert_eq!((map.get(&1), map.get(&2)), (Some(&'b'), None));
        assert_eq!((map.remove(&1), map.remove(&1)), (Some('b'), None));
        assert!(map.contains(&3) && !map.contains(&1));
    }
}
