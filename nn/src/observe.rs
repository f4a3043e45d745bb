//! What [`summary`](crate::summary) observes: the results of layers during one forward pass.
//!
//! `forward` of a layer is a method that the user's model calls directly, so nothing can be wrapped around it from
//! outside: every layer of the library passes its result through [`observe`]. Without a recording that costs one read
//! of a thread-local.

use minitorch_core::{Backend, Shape, Tensor};
use std::cell::RefCell;

thread_local! {
    /// `None` if nothing is being recorded.
    static RECORDING: RefCell<Option<Vec<Event>>> = const { RefCell::new(None) };
}

/// Type and address of a module. Two modules can share it only if they hold no data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    type_name: &'static str,
    address: usize,
}

impl Identity {
    pub(crate) fn of<M>(module: &M) -> Self {
        Identity { type_name: std::any::type_name::<M>(), address: std::ptr::from_ref(module).addr() }
    }

    /// The name of the type without path and generics, such as `Conv2d`.
    pub(crate) fn kind(&self) -> &'static str {
        let path = self.type_name.split('<').next().unwrap_or_default();
        path.rsplit("::").next().unwrap_or_default().trim_start_matches("r#")
    }
}

/// The result of one layer.
pub(crate) struct Event {
    pub(crate) layer: Identity,
    pub(crate) output: Shape,
    pub(crate) bytes: u64,
    pub(crate) flops: u64,
}

/// Records the result of a layer, and returns it.
pub(crate) fn observe<B: Backend, L>(layer: &L, y: Tensor<B>) -> Tensor<B> {
    observe_flops(layer, 0, y)
}

/// [`observe`] of a layer that computes `flops` multiplications and additions.
pub(crate) fn observe_flops<B: Backend, L>(layer: &L, flops: u64, y: Tensor<B>) -> Tensor<B> {
    RECORDING.with_borrow_mut(|events| {
        let Some(events) = events else { return };
        let bytes = (y.numel() * y.dtype().size()) as u64;
        events.push(Event { layer: Identity::of(layer), output: *y.shape(), bytes, flops });
    });
    y
}

/// Whether this thread is recording.
pub(crate) fn is_recording() -> bool {
    RECORDING.with_borrow(Option::is_some)
}

/// Runs `f` and returns the results of the layers that ran in it, on this thread. Recordings nest.
pub(crate) fn record<R>(f: impl FnOnce() -> R) -> (R, Vec<Event>) {
    /// Restores the outer recording, also if `f` panics.
    struct Restore(Option<Vec<Event>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDING.set(self.0.take());
        }
    }
    let _restore = Restore(RECORDING.replace(Some(Vec::new())));
    let result = f();
    (result, RECORDING.take().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_recording() {
        let panic = std::panic::catch_unwind(|| record(|| panic!("no forward")));
        assert!(panic.is_err() && !is_recording());
    }

    #[test]
    fn a_kind_is_the_bare_name_of_the_type() {
        struct Block<M>(M);
        assert_eq!(Identity::of(&Block(vec![1])).kind(), "Block");
        assert_eq!(Identity::of(&Block(Block(1)).0).kind(), "Block");
    }
}
