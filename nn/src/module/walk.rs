//! What a walk over a module visits, and where it is.

use super::param::{Buffer, Param};
use crate::observe;
use minitorch_core::Backend;

/// Whether a module trains or evaluates: a field of the modules that behave differently. New modules train.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Training(pub bool);

impl Training {
    /// Whether to behave as in training: the mode, except within [`summary`](crate::summary), which must not change
    /// running statistics or the random state.
    pub fn is_on(self) -> bool {
        self.0 && !observe::is_recording()
    }
}

impl Default for Training {
    fn default() -> Self {
        Training(true)
    }
}

/// The dotted name of the entry that a walk is at. One string, extended and truncated in place.
#[derive(Default, Debug)]
pub struct Path {
    name: String,
    /// The modules that the walk has entered; recorded for [`summary`](crate::summary) only.
    modules: Option<Vec<Visited>>,
}

/// A module that a walk has entered.
#[derive(Debug)]
pub(crate) struct Visited {
    pub(crate) name: String,
    pub(crate) identity: observe::Identity,
}

impl Path {
    /// A path that records the modules.
    pub(crate) fn recording() -> Self {
        Path { name: String::new(), modules: Some(Vec::new()) }
    }

    /// The recorded modules, in the order of the walk.
    pub(crate) fn into_modules(self) -> Vec<Visited> {
        self.modules.unwrap_or_default()
    }

    /// Marks that the walk enters `module`, whose name is that of the path. A derived [`Module`](crate::Module) does
    /// this; one written by hand does it first in `visit`, or has no row of its own in a [`summary`](crate::summary).
    pub fn module<M>(&mut self, module: &M) {
        if let Some(modules) = &mut self.modules {
            modules.push(Visited { name: self.name.clone(), identity: observe::Identity::of(module) });
        }
    }

    /// Runs `f` one level deeper.
    pub fn enter(&mut self, name: &str, f: impl FnOnce(&mut Path)) {
        let length = self.name.len();
        if length > 0 {
            self.name.push('.');
        }
        self.name.push_str(name);
        f(self);
        self.name.truncate(length);
    }

    /// [`enter`](Path::enter) of an element of a list.
    pub(super) fn enter_index(&mut self, index: usize, f: impl FnOnce(&mut Path)) {
        use std::fmt::Write;
        let length = self.name.len();
        let dot = if length > 0 { "." } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(self.name, "{dot}{index}");
        f(self);
        self.name.truncate(length);
    }

    /// The name so far, such as `conv1.weight`.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

/// An entry of a module.
pub enum Entry<'m, B: Backend> {
    /// A trained tensor.
    Param(&'m Param<B>),
    /// A saved tensor.
    Buffer(&'m Buffer<B>),
    /// A mode.
    Training(&'m Training),
}

/// A mutable entry of a module.
pub enum EntryMut<'m, B: Backend> {
    /// A trained tensor.
    Param(&'m mut Param<B>),
    /// A saved tensor.
    Buffer(&'m mut Buffer<B>),
    /// A mode.
    Training(&'m mut Training),
}

/// The function that [`Module::visit`](crate::Module::visit) calls with the dotted name of each entry and the entry.
pub type Visit<'f, 'm, B> = &'f mut dyn FnMut(&str, Entry<'m, B>);
/// The function that [`Module::visit_mut`](crate::Module::visit_mut) calls with the dotted name of each entry and the
/// entry.
pub type VisitMut<'f, 'm, B> = &'f mut dyn FnMut(&str, EntryMut<'m, B>);
