//! The caller of an operation that reads indices, for errors that a device finds after the call has returned.

use crate::error::{Error, OutOfRange};
use std::collections::HashMap;
use std::panic::Location;
use std::sync::{LazyLock, Mutex, PoisonError};

/// An operation as the user called it, and the line of the call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Caller {
    /// The name of the method.
    pub op: &'static str,
    /// The line that called it.
    pub location: &'static Location<'static>,
}

/// All callers that have an id.
#[derive(Default)]
struct Table {
    ids: HashMap<Caller, u32>,
    /// The caller with id 1 is the first.
    callers: Vec<Caller>,
}

/// It has at most one entry per call in the program's text.
static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

impl Caller {
    /// The caller of this `#[track_caller]` function, which calls itself `op`.
    #[track_caller]
    pub fn of(op: &'static str) -> Self {
        Caller { op, location: Location::caller() }
    }

    /// The number by which a kernel reports this caller: at least 1, and the same for equal callers.
    pub fn id(self) -> u32 {
        let Table { ids, callers } = &mut *TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        *ids.entry(self).or_insert_with(|| {
            callers.push(self);
            callers.len() as u32
        })
    }

    /// The error of an index that was found for the caller with this id. An id that [`id`](Self::id) has not returned, which
    /// only a damaged record can hold, gives an error that says so.
    pub fn error_of(id: u32, found: OutOfRange) -> Error {
        let table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        let caller = (id as usize).checked_sub(1).and_then(|at| table.callers.get(at));
        caller.map_or_else(
            || Error::Invalid(format!("an operation without a name: {found}")),
            |caller| caller.error(found),
        )
    }

    /// The error of an index that was found for this caller.
    pub fn error(self, found: OutOfRange) -> Error {
        let (Caller { op, location }, OutOfRange { index, bound }) = (self, found);
        Error::IndexOutOfRange { op, location, index, bound }
    }

    /// The value, or a panic at the line of the caller.
    #[track_caller]
    pub(crate) fn must<T>(self, result: Result<T, OutOfRange>) -> T {
        match result {
            Ok(value) => value,
            Err(found) => panic!("{}: {found}", self.op),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_callers_have_equal_ids() {
        #[track_caller]
        fn gather() -> Caller {
            Caller::of("gather")
        }
        let [a, b] = [(), ()].map(|()| gather());
        let c = gather();
        assert!(a == b && a != c && a != Caller { op: "scatter", ..a });
        assert!(a.id() > 0 && a.id() == b.id() && a.id() != c.id());
        let found = OutOfRange { index: -1, bound: 3 };
        let text = Caller::error_of(c.id(), found).to_string();
        let here = format!("gather at {}:{}:", file!(), c.location.line());
        assert!(text.starts_with(&here) && text.ends_with(": index -1 is outside a dimension of size 3"), "{text}");
        for id in [0, u32::MAX] {
            assert!(Caller::error_of(id, found).to_string().contains("index -1"));
        }
    }
}
