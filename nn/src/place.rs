//! Where a forward pass is: the layers that run on this thread, for the messages of panics.
//!
//! ```text
//! frames       chain [2: Block]    layer Conv2d                 pushed and popped by guards
//! names        of the Block's submodules, by type and address   one walk of the module tree per element of a chain
//! description  in layer 2.conv1: Conv2d of the Sequential at src/main.rs:12:20
//! ```
//!
//! A layer does not know its name: it is a field of a module whose `forward` is the user's. A chain knows its elements,
//! so it registers the names of the modules inside them, and a layer registers itself. The names of fields are known
//! below a [`Sequential`](crate::Sequential) only; outside of it the panic's line, which is the caller's, shows the
//! field. A frame costs a push and a pop of a thread-local list.

use crate::module::{Module, Path};
use crate::observe::Identity;
use minitorch_core::{Backend, context};
use std::cell::RefCell;
use std::panic::Location;
use std::sync::Arc;

/// Names of modules by identity.
pub(crate) type Names = Vec<(Identity, String)>;

/// The names of the modules inside a module; `None` if there are none.
pub(crate) fn names_inside<B: Backend>(module: &(impl Module<B> + ?Sized)) -> Option<Arc<Names>> {
    let mut path = Path::recording();
    module.visit(&mut path, &mut |_, _| {});
    let inside = path.into_modules().into_iter().filter(|module| !module.name.is_empty());
    let names: Names = inside.map(|module| (module.identity, module.name)).collect();
    (!names.is_empty()).then(|| Arc::new(names))
}

/// A layer that runs.
enum Frame {
    /// An element of a chain.
    Element {
        chain: Identity,
        index: usize,
        layer: Identity,
        /// The names of the modules inside the layer.
        names: Option<Arc<Names>>,
        /// The line that called the chain.
        at: &'static Location<'static>,
    },
    /// A layer of the library.
    Layer(Identity),
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Removes its frame when it is dropped, also by a panic.
#[must_use]
pub(crate) struct Running(());

impl Drop for Running {
    fn drop(&mut self) {
        // Without a thread-local there are no frames: the thread ends.
        let _ = FRAMES.try_with(|frames| frames.borrow_mut().pop());
    }
}

fn push(frame: Frame) -> Running {
    context::describe_with(describe);
    let _ = FRAMES.try_with(|frames| frames.borrow_mut().push(frame));
    Running(())
}

/// Marks that a layer of the library runs until the guard is dropped.
pub(crate) fn layer<L>(layer: &L) -> Running {
    push(Frame::Layer(Identity::of(layer)))
}

/// Marks that an element of a chain runs until the guard is dropped.
pub(crate) fn element<C>(
    chain: &C,
    index: usize,
    layer: Identity,
    names: Option<Arc<Names>>,
    at: &'static Location<'static>,
) -> Running {
    push(Frame::Element { chain: Identity::of(chain), index, layer, names, at })
}

/// The folder of this crate's sources, as locations print it: a line of it is not the user's.
fn own_sources() -> Option<&'static str> {
    file!().strip_suffix("place.rs")
}

/// What runs on this thread.
fn describe() -> Option<String> {
    FRAMES.try_with(|frames| described(&frames.try_borrow().ok()?)).ok()?
}

fn described(frames: &[Frame]) -> Option<String> {
    let mut path: Vec<String> = Vec::new();
    let mut outer: Option<(Identity, Option<&Names>)> = None;
    let mut called = None;
    for frame in frames {
        let (Frame::Element { chain: identity, .. } | Frame::Layer(identity)) = frame;
        // Below a chain a layer has a name, or at least a kind.
        path.extend(outer.and_then(|(element, names)| name_of(*identity, element, names)));
        if let Frame::Element { index, layer, names, at, chain } = frame {
            path.push(index.to_string());
            outer = Some((*layer, names.as_deref()));
            let is_users = own_sources().is_none_or(|own| !at.file().starts_with(own));
            called = called.or(is_users.then(|| format!(" of the {} at {at}", chain.kind())));
        }
    }
    let (Frame::Element { layer: innermost, .. } | Frame::Layer(innermost)) = frames.last()?;
    let (kind, called) = (innermost.kind(), called.unwrap_or_default());
    Some(if path.is_empty() { format!("in {kind}") } else { format!("in layer {}: {kind}{called}", path.join(".")) })
}

/// The name of a layer inside an element of a chain: none if it is the element, its kind if the name is not known, as
/// of one that a closure has captured, or not unique, as of layers without data.
fn name_of(layer: Identity, element: Identity, names: Option<&Names>) -> Option<String> {
    if layer == element {
        return None;
    }
    let mut found = names.into_iter().flatten().filter(|(identity, _)| *identity == layer);
    match (found.next(), found.next()) {
        (Some((_, name)), None) => Some(name.clone()),
        _ => Some(layer.kind().to_string()),
    }
}

/// `assert!` of a layer, whose message says which layer runs.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {{
        let holds: bool = $condition;
        if !holds {
            minitorch_core::context::fail(format_args!($($message)+))
        }
    }};
}
pub(crate) use check;
