//! Shares one copy of each recent name, because a program has few span names and every event has
//! one. Bounded. Runs on the worker thread.

use std::{hash::BuildHasher as _, sync::Arc};

use crate::util::hash::RandomState;

/// Upper bound on the number of shared names.
const SLOTS: usize = 512;
/// Longer names are not shared, because this table would keep their memory.
const BYTES_MAX: usize = 256;

/// A table whose slots each hold the last name that was used there.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    hashing: RandomState,
    places: Vec<Option<Arc<str>>>,
}

impl Interner {
    pub(crate) fn intern(&mut self, name: &str) -> Arc<str> {
        if name.len() > BYTES_MAX {
            return name.into();
        }
        if self.places.is_empty() {
            self.places.resize(SLOTS, None);
        }
        let place = self.hashing.hash_one(name) % SLOTS as u64;
        let Some(place) = self.places.get_mut(usize::try_from(place).unwrap_or(0)) else {
            return name.into();
        };
        match place {
            Some(known) if **known == *name => Arc::clone(known),
            other => Arc::clone(other.insert(name.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shared_while_it_recurs_and_is_not_confused_with_another() {
        let mut names = Interner::default();
        let first = names.intern("checkout");
        assert!(Arc::ptr_eq(&first, &names.intern("checkout")));
        for number in 0..10 * SLOTS {
            let name = number.to_string();
            assert_eq!(*names.intern(&name), *name);
        }
        assert_eq!(names.places.len(), SLOTS);
        assert_eq!(*names.intern("checkout"), *first);
    }

    #[test]
    fn long_names_are_not_kept() {
        let mut names = Interner::default();
        let long = "n".repeat(BYTES_MAX + 1);
        assert_eq!(*names.intern(&long), *long);
        assert!(names.places.is_empty());
    }
}
