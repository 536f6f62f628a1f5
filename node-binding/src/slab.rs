//! Things by a number that JavaScript holds.

const INDEX_BITS: u32 = 16;
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;
/// Ids stay below 2^30, so that V8 keeps them as small integers.
const GENERATION_MASK: u16 = (1 << 14) - 1;

/// At most 65,536 entries. A number names its place and how often that place was used before, so that the number of
/// something gone finds nothing (until a place was used 16,384 times more).
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<usize>,
}

struct Place<T> {
    generation: u16,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Stores what `make` makes of its number; `None` when the slab is full.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(i32) -> T) -> Option<i32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() > INDEX_MASK => return None,
            None => {
                self.places.push(Place {
                    generation: 0,
                    value: None,
                });
                self.places.len() - 1
            }
        };
        let place = self.places.get_mut(index)?;
        let id = (i32::from(place.generation) << INDEX_BITS) | index as i32;
        place.value = Some(make(id));
        Some(id)
    }

    /// Whether nothing more can be stored.
    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.places.len() > INDEX_MASK
    }

    fn place(id: i32) -> (usize, u16) {
        (id as usize & INDEX_MASK, (id >> INDEX_BITS) as u16)
    }

    pub(crate) fn get(&self, id: i32) -> Option<&T> {
        let (index, generation) = Self::place(id);
        self.places
            .get(index)
            .filter(|place| place.generation == generation)?
            .value
            .as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: i32) -> Option<&mut T> {
        let (index, generation) = Self::place(id);
        self.places
            .get_mut(index)
            .filter(|place| place.generation == generation)?
            .value
            .as_mut()
    }

    pub(crate) fn remove(&mut self, id: i32) -> Option<T> {
        let (index, generation) = Self::place(id);
        let place = self.places.get_mut(index)?;
        if place.generation != generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = (place.generation + 1) & GENERATION_MASK;
        self.free.push(index);
        Some(value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| place.value.as_ref())
    }

    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.free.clear();
    }
}
