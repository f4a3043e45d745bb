//! The outputs of the operations that are recorded while [`Graph::trace`](crate::Graph::trace) runs a function.

use super::Value;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

thread_local! {
    static KEEPING: Cell<bool> = const { Cell::new(false) };
    /// By the nodes' ids; of any type of value.
    static KEPT: RefCell<HashMap<u64, Box<dyn Any>>> = RefCell::new(HashMap::new());
}

/// Within [`kept`], keeps the output of the node of this id, off the tape; otherwise does nothing.
#[inline]
pub(crate) fn keep<V: Value>(id: u64, out: &V) {
    if KEEPING.get() {
        let bare: Box<dyn Any> = Box::new(out.with_node(None));
        KEPT.with_borrow_mut(|kept| kept.insert(id, bare));
    }
}

/// Keeps values until it is dropped, also by a panic. An outer scope gets the values of the inner ones too.
struct Scope {
    outer: Option<HashMap<u64, Box<dyn Any>>>,
}

impl Scope {
    fn new() -> Self {
        let outer = KEEPING.replace(true).then(|| KEPT.take());
        Scope { outer }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let inner = KEPT.take();
        KEEPING.set(self.outer.is_some());
        if let Some(mut outer) = self.outer.take() {
            outer.extend(inner);
            KEPT.set(outer);
        }
    }
}

/// Runs `f`, and returns its result and the outputs of the operations that it recorded, by the nodes' ids.
pub(crate) fn kept<V: Value, T>(f: impl FnOnce() -> T) -> (T, HashMap<u64, V>) {
    let scope = Scope::new();
    let result = f();
    let values = KEPT.with_borrow(|kept| {
        kept.iter().filter_map(|(id, value)| Some((*id, value.downcast_ref::<V>()?.clone()))).collect()
    });
    drop(scope);
    (result, values)
}
