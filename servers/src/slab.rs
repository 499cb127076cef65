//! A table of things by number that grows a page at a time.
//!
//! Place on the data path: under the subscribers of a shard and the connections of its own loop. One
//! run of memory that doubles would be copied whole each time, in the middle of a rush of clients, and
//! leave what it had with the allocator: at 100,000 connections that was nearly half of what the server
//! held for them.

/// Entries of a page. A page is some tens of KB: little beside a process with few clients, and a
/// million clients are four thousand pages.
const ENTRIES: usize = 256;

#[derive(Debug)]
enum Entry<T> {
    Taken(T),
    /// The number that is given after this one.
    Free(usize),
}

/// The table. A number that was given back is given anew, the last one first.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    /// All full but the last.
    pages: Vec<Vec<Entry<T>>>,
    /// The number that is given next: a free one, or that behind the last.
    next: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            next: 0,
        }
    }
}

impl<T> Slab<T> {
    /// The number that the next one to be put in is given.
    pub(crate) fn next_number(&self) -> usize {
        self.next
    }

    /// Numbers that were ever given lie below.
    pub(crate) fn end(&self) -> usize {
        self.pages
            .last()
            .map_or(0, |last| (self.pages.len() - 1) * ENTRIES + last.len())
    }

    /// Puts `value` in; returns its number.
    pub(crate) fn insert(&mut self, value: T) -> usize {
        let number = self.next;
        if number == self.end() {
            if number.is_multiple_of(ENTRIES) {
                self.pages.push(Vec::with_capacity(ENTRIES));
            }
            self.pages[number / ENTRIES].push(Entry::Taken(value));
            self.next = number + 1;
        } else {
            let entry = &mut self.pages[number / ENTRIES][number % ENTRIES];
            if let Entry::Free(after) = std::mem::replace(entry, Entry::Taken(value)) {
                self.next = after;
            }
        }
        number
    }

    /// What has this number, if anything has.
    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        match self
            .pages
            .get_mut(number / ENTRIES)?
            .get_mut(number % ENTRIES)?
        {
            Entry::Taken(value) => Some(value),
            Entry::Free(_) => None,
        }
    }

    /// Takes out what has this number.
    pub(crate) fn remove(&mut self, number: usize) -> Option<T> {
        let entry = self
            .pages
            .get_mut(number / ENTRIES)?
            .get_mut(number % ENTRIES)?;
        if matches!(entry, Entry::Free(_)) {
            return None;
        }
        let Entry::Taken(value) = std::mem::replace(entry, Entry::Free(self.next)) else {
            return None;
        };
        self.next = number;
        Some(value)
    }

    /// Everything with its number, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let entries = self.pages.iter().flatten().enumerate();
        entries.filter_map(|(number, entry)| match entry {
            Entry::Taken(value) => Some((number, value)),
            Entry::Free(_) => None,
        })
    }

    /// Everything, by number.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages
            .iter_mut()
            .flatten()
            .filter_map(|entry| match entry {
                Entry::Taken(value) => Some(value),
                Entry::Free(_) => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_up_and_those_given_back_come_again_the_last_one_first() {
        let mut pages = Slab::default();
        for number in 0..3 * ENTRIES {
            assert_eq!(pages.next_number(), number);
            assert_eq!(pages.insert(number), number);
        }
        assert_eq!((pages.remove(5), pages.remove(600)), (Some(5), Some(600)));
        assert_eq!(pages.remove(5), None);
        assert_eq!(pages.get_mut(5), None);
        assert_eq!((pages.insert(1), pages.insert(2)), (600, 5));
        assert_eq!(pages.next_number(), 3 * ENTRIES);
        assert_eq!(pages.insert(3), 3 * ENTRIES);
        assert_eq!(pages.end(), 3 * ENTRIES + 1);
        assert_eq!(pages.get_mut(5), Some(&mut 2));
    }

    #[test]
    fn what_is_taken_is_told_by_number_and_nothing_else_is() {
        let mut pages: Slab<u32> = Slab::default();
        assert_eq!((pages.iter().count(), pages.end()), (0, 0));
        assert_eq!(pages.get_mut(0), None);
        assert_eq!(pages.remove(7_000), None);
        (0..300).for_each(|n| {
            pages.insert(n);
        });
        (0..300).filter(|n| n % 100 != 99).for_each(|n| {
            pages.remove(n);
        });
        pages.values_mut().for_each(|n| *n += 1);
        let left: Vec<(usize, u32)> = pages.iter().map(|(n, v)| (n, *v)).collect();
        assert_eq!(left, [(99, 100), (199, 200), (299, 300)]);
    }

    #[test]
    fn a_page_that_is_full_stays_where_it_is() {
        let mut pages = Slab::default();
        pages.insert(0);
        let first: *const i32 = pages.get_mut(0).expect("taken");
        (1..10_000).for_each(|n| {
            pages.insert(n);
        });
        assert_eq!(first, pages.get_mut(0).expect("taken") as *const i32);
    }
}
