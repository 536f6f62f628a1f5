//! Numbered places for a bounded number of values.

use super::ConnId;

/// Ids stay below 2³¹, so that they are small integers for every binding.
const ID_BITS: u32 = 31;

/// PostgreSQL's bound on `max_connections` (MAX_BACKENDS, 2¹⁸ − 1): more slots could never be filled.
pub(super) const MOST: usize = 0x3_FFFF;

/// At most `max` values, each under an id that its slot does not use again before its generation wraps around.
#[derive(Debug)]
pub(super) struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    max: usize,
    index_bits: u32,
}

#[derive(Debug)]
struct Entry<T> {
    id: ConnId,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub(super) fn new(max: usize) -> Slots<T> {
        let max = max.clamp(1, MOST);
        Slots {
            entries: Vec::new(),
            free: Vec::new(),
            max,
            index_bits: usize::BITS - (max - 1).leading_zeros(),
        }
    }

    /// Values held now.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Stores `value`; `None` when all slots are taken.
    pub(super) fn insert(&mut self, value: T) -> Option<ConnId> {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.value = Some(value);
            return Some(entry.id);
        }
        let index = self.entries.len();
        if index == self.max {
            return None;
        }
        let id = 1 << self.index_bits | index as u32;
        self.entries.push(Entry { id, value: Some(value) });
        Some(id)
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&T> {
        let entry = self.entries.get(self.index(id))?;
        if entry.id == id { entry.value.as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        let index = self.index(id);
        let entry = self.entries.get_mut(index)?;
        if entry.id == id { entry.value.as_mut() } else { None }
    }

    /// Frees the slot; its next value gets another id.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<T> {
        let index = self.index(id);
        let step = 1 << self.index_bits;
        let entry = self.entries.get_mut(index)?;
        if entry.id != id {
            return None;
        }
        let value = entry.value.take()?;
        entry.id = entry.id.wrapping_add(step) & ((1 << ID_BITS) - 1);
        if entry.id < step {
            entry.id += step; // generation 0 is never used, so that 0 is no id
        }
        self.free.push(index as u32);
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.entries
            .iter()
            .filter_map(|entry| Some((entry.id, entry.value.as_ref()?)))
    }

    fn index(&self, id: ConnId) -> usize {
        (id & ((1 << self.index_bits) - 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_is_not_used_again_before_its_generations_are_used_up() {
        let mut slots = Slots::new(MOST);
        let first = slots.insert(0).unwrap();
        slots.remove(first).unwrap();
        let mut generations = 1;
        loop {
            let id = slots.insert(0).unwrap();
            assert!(id != 0 && id < 1 << ID_BITS);
            assert_eq!(slots.remove(id), Some(0));
            assert_eq!(slots.remove(id), None);
            if id == first {
                break;
            }
            generations += 1;
        }
        assert_eq!(generations, (1 << (ID_BITS - 18)) - 1);
    }

    #[test]
    fn no_more_than_max_values_are_held() {
        let mut slots = Slots::new(3);
        let ids: Vec<_> = (0..3).map(|n| slots.insert(n).unwrap()).collect();
        assert_eq!(slots.insert(3), None);
        slots.remove(ids[1]).unwrap();
        let id = slots.insert(4).unwrap();
        assert!(!ids.contains(&id));
        assert_eq!(slots.get(ids[1]), None);
        assert_eq!(slots.get(id), Some(&4));
        assert_eq!(slots.len(), 3);
    }

    #[test]
    fn one_slot_needs_no_index_bits() {
        let mut slots = Slots::new(1);
        assert_eq!(slots.insert('a'), Some(1));
        assert_eq!(slots.remove(1), Some('a'));
        assert_eq!(slots.insert('b'), Some(2));
    }
}
