//! A chain of layers, of any types.
//!
//! ```text
//! Sequential = [element]       element = a boxed layer that can also be cloned, printed and downcast
//! ```

use crate::module::{Layer, Module, Path, Visit, VisitMut};
use crate::observe::{Identity, observe};
use crate::place::{self, Names};
use minitorch_core::{Backend, Tensor};
use std::any::Any;
use std::fmt;
use std::ops::{Index, IndexMut};
use std::panic::Location;
use std::slice;
use std::sync::{Arc, OnceLock};

/// A chain of layers. Parameters are named by position (`0.weight`). PyTorch: `nn.Sequential`.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let mlp = Sequential::new()
///     .push(Linear::new(2, 8, &device))
///     .push(Relu)
///     .push(|x: &Tensor<_>| x * 0.5)
///     .push(Linear::new(8, 1, &device));
/// let x = Tensor::zeros([4, 2], &device);
/// assert_eq!(mlp.forward(&x).dims(), [4, 1]);
/// assert_eq!((mlp.len(), mlp.num_parameters()), (4, 33));
///
/// assert_eq!(mlp[0].forward(&x).dims(), [4, 8]);
/// let first = mlp.get::<Linear<_>>(0).expect("a linear layer");
/// assert_eq!(first.weight.dims(), [8, 2]);
/// let mut y = x;
/// for layer in &mlp {
///     y = layer.forward(&y);
/// }
/// assert_eq!(y.dims(), [4, 1]);
/// ```
///
/// `{:?}` prints one line per layer:
///
/// ```text
/// Sequential(
///   (0): Linear(2 -> 8)
///   (1): Relu
///   (2): Closure
///   (3): Linear(8 -> 1)
/// )
/// ```
///
/// A clone is another model: its parameters are leaves of their own, with the same values.
///
/// **Own layers.** A module is a [`Layer`] with a `forward`; to be part of a chain, which can be cloned and printed, it
/// is `Clone` and `Debug` too: `#[derive(Module, Clone, Debug)]`. If a field has no `Clone`, implement it by hand. A
/// closure from a tensor to a tensor is a layer without parameters.
///
/// **Panics** of operations in `forward` end with the place of the layer, and the line that called the chain:
/// `in layer 2.conv1: Conv2d of the Sequential at src/main.rs:12:20`.
#[must_use]
pub struct Sequential<B: Backend> {
    elements: Vec<Element<B>>,
}

/// One layer of a chain.
struct Element<B: Backend> {
    layer: Box<dyn AnyLayer<B>>,
    /// The names of the modules inside it, once it has run.
    names: OnceLock<Option<Arc<Names>>>,
}

/// What a chain needs of its layers besides [`Layer`].
trait AnyLayer<B: Backend>: Layer<B> + Any + fmt::Debug {
    fn boxed_clone(&self) -> Box<dyn AnyLayer<B>>;
    fn identity(&self) -> Identity;
}

impl<B: Backend, L: Layer<B> + Clone + fmt::Debug + 'static> AnyLayer<B> for L {
    fn boxed_clone(&self) -> Box<dyn AnyLayer<B>> {
        Box::new(self.clone())
    }
    fn identity(&self) -> Identity {
        Identity::of(self)
    }
}

/// What [`Sequential::push`] takes: layers that are `Clone` and `Debug`, and closures. `Kind` is inferred; it keeps the
/// two apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a layer of a `Sequential`",
    note = "a module with `#[derive(Module, Clone, Debug)]` and an implementation of `Layer` can",
    note = "so can a closure with the type of its argument: `|x: &Tensor<_>| x.relu()`"
)]
pub trait IntoLayer<B: Backend, Kind> {
    /// The layer's type.
    type Layer: Layer<B> + Clone + fmt::Debug + 'static;
    /// The layer.
    fn into_layer(self) -> Self::Layer;
}

/// The `Kind` of layers in [`IntoLayer`].
#[derive(Clone, Copy, Debug)]
pub enum IsLayer {}

/// The `Kind` of closures in [`IntoLayer`].
#[derive(Clone, Copy, Debug)]
pub enum IsClosure {}

impl<B: Backend, L: Layer<B> + Clone + fmt::Debug + 'static> IntoLayer<B, IsLayer> for L {
    type Layer = L;
    fn into_layer(self) -> L {
        self
    }
}

impl<B: Backend, F> IntoLayer<B, IsClosure> for F
where
    F: Fn(&Tensor<B>) -> Tensor<B> + Clone + Send + Sync + 'static,
{
    type Layer = Closure<F>;
    fn into_layer(self) -> Closure<F> {
        Closure(self)
    }
}

/// A closure as a layer of a [`Sequential`].
#[derive(Clone, Copy)]
pub struct Closure<F>(F);

impl<B: Backend, F> Module<B> for Closure<F> {
    fn visit<'m>(&'m self, path: &mut Path, _: Visit<'_, 'm, B>) {
        path.module(self);
    }
    fn visit_mut<'m>(&'m mut self, _: &mut Path, _: VisitMut<'_, 'm, B>) {}
}

impl<B: Backend, F: Fn(&Tensor<B>) -> Tensor<B> + Send + Sync> Layer<B> for Closure<F> {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        observe(self, (self.0)(x))
    }
}

impl<F> fmt::Debug for Closure<F> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Closure")
    }
}

impl<B: Backend> Element<B> {
    fn new<Kind>(layer: impl IntoLayer<B, Kind>) -> Self {
        Element { layer: Box::new(layer.into_layer()), names: OnceLock::new() }
    }

    /// The layer for changes, which may move the modules inside it.
    fn layer_mut(&mut self) -> &mut (dyn AnyLayer<B> + 'static) {
        self.names.take();
        &mut *self.layer
    }
}

impl<B: Backend> Sequential<B> {
    /// No layers: the identity.
    pub fn new() -> Self {
        Sequential { elements: Vec::new() }
    }

    /// Appends a layer or a closure.
    pub fn push<Kind>(mut self, layer: impl IntoLayer<B, Kind>) -> Self {
        self.elements.push(Element::new(layer));
        self
    }

    /// Inserts a layer or a closure before the layer `index`, or at the end if that is the number of layers.
    ///
    /// # Panics
    /// If the index is larger.
    #[track_caller]
    pub fn insert<Kind>(&mut self, index: usize, layer: impl IntoLayer<B, Kind>) {
        self.check("insert", index, self.len() + 1);
        self.elements.insert(index, Element::new(layer));
    }

    /// Removes a layer and returns it.
    ///
    /// # Panics
    /// If there is no such layer.
    #[track_caller]
    pub fn remove(&mut self, index: usize) -> Box<dyn Layer<B>> {
        self.check("remove", index, self.len());
        self.elements.remove(index).layer
    }

    /// Appends all layers of another chain. PyTorch: `Sequential.extend`.
    pub fn append(&mut self, other: Sequential<B>) {
        self.elements.extend(other.elements);
    }

    /// Removes the layers from `index` on and returns them as a chain of their own. PyTorch: the slice `net[index:]`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let mut features = Sequential::new().push(Linear::new(4, 3, &device)).push(Relu).push(Linear::new(3, 2, &device));
    /// let head = features.split_off(2);
    /// assert_eq!((features.len(), head.len()), (2, 1));
    /// ```
    ///
    /// # Panics
    /// If the index is larger than the number of layers.
    #[track_caller]
    pub fn split_off(&mut self, index: usize) -> Sequential<B> {
        self.check("split_off", index, self.len() + 1);
        Sequential { elements: self.elements.split_off(index) }
    }

    /// The number of layers.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// The layer `index` if it is of type `L`: `net.get::<Linear<_>>(0)`. `net[0]` is the layer whatever its type.
    pub fn get<L: Layer<B> + 'static>(&self, index: usize) -> Option<&L> {
        let layer: &dyn Any = &*self.elements.get(index)?.layer;
        layer.downcast_ref()
    }

    /// [`get`](Self::get) for changes: `*net.get_mut::<Linear<_>>(4)? = Linear::new(512, 10, &device)`.
    pub fn get_mut<L: Layer<B> + 'static>(&mut self, index: usize) -> Option<&mut L> {
        let layer: &mut dyn Any = self.elements.get_mut(index)?.layer_mut();
        layer.downcast_mut()
    }

    /// The layers in order.
    pub fn iter(&self) -> Iter<'_, B> {
        Iter(self.elements.iter())
    }

    /// The layers in order, for changes.
    pub fn iter_mut(&mut self) -> IterMut<'_, B> {
        IterMut(self.elements.iter_mut())
    }

    /// Applies the layers in order.
    ///
    /// # Panics
    /// As the layers.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let at = Location::caller();
        let mut y = None;
        for (index, Element { layer, names }) in self.elements.iter().enumerate() {
            let names = names.get_or_init(|| place::names_inside(&**layer)).clone();
            let _running = place::element(self, index, layer.identity(), names, at);
            y = Some(layer.forward(y.as_ref().unwrap_or(x)));
        }
        y.unwrap_or_else(|| x.clone())
    }

    #[track_caller]
    fn check(&self, method: &str, index: usize, bound: usize) {
        let n = self.len();
        assert!(index < bound, "Sequential::{method}: no layer {index} in a chain of {n}");
    }
}

impl<B: Backend> Default for Sequential<B> {
    fn default() -> Self {
        Sequential::new()
    }
}

/// Another model with the same values.
impl<B: Backend> Clone for Sequential<B> {
    fn clone(&self) -> Self {
        let copy = |element: &Element<B>| Element { layer: element.layer.boxed_clone(), names: OnceLock::new() };
        Sequential { elements: self.elements.iter().map(copy).collect() }
    }
}

impl<B: Backend> fmt::Debug for Sequential<B> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Sequential(")?;
        for (index, Element { layer, .. }) in self.elements.iter().enumerate() {
            let text = if f.alternate() { format!("{layer:#?}") } else { format!("{layer:?}") };
            write!(f, "\n  ({index}): {}", text.replace('\n', "\n  "))?;
        }
        f.write_str(if self.is_empty() { ")" } else { "\n)" })
    }
}

/// The layer, whatever its type.
///
/// # Panics
/// If there is no such layer.
impl<B: Backend> Index<usize> for Sequential<B> {
    type Output = dyn Layer<B>;
    #[track_caller]
    fn index(&self, index: usize) -> &(dyn Layer<B> + 'static) {
        self.check("index", index, self.len());
        &*self.elements[index].layer
    }
}

/// The layer, whatever its type.
///
/// # Panics
/// If there is no such layer.
impl<B: Backend> IndexMut<usize> for Sequential<B> {
    #[track_caller]
    fn index_mut(&mut self, index: usize) -> &mut (dyn Layer<B> + 'static) {
        self.check("index", index, self.len());
        self.elements[index].layer_mut()
    }
}

/// Appends layers of one type.
impl<B: Backend, L: Layer<B> + Clone + fmt::Debug + 'static> Extend<L> for Sequential<B> {
    fn extend<I: IntoIterator<Item = L>>(&mut self, layers: I) {
        self.elements.extend(layers.into_iter().map(Element::new));
    }
}

/// A chain of layers of one type: `(0..6).map(|_| Block::new(&device)).collect::<Sequential<_>>()`.
impl<B: Backend, L: Layer<B> + Clone + fmt::Debug + 'static> FromIterator<L> for Sequential<B> {
    fn from_iter<I: IntoIterator<Item = L>>(layers: I) -> Self {
        let mut chain = Sequential::new();
        chain.extend(layers);
        chain
    }
}

/// The layers of a [`Sequential`] in order.
pub struct Iter<'a, B: Backend>(slice::Iter<'a, Element<B>>);

/// The layers of a [`Sequential`] in order, for changes.
pub struct IterMut<'a, B: Backend>(slice::IterMut<'a, Element<B>>);

macro_rules! iterators {
    ($($name:ident: $item:ty = $layer:expr;)*) => { $(
        impl<'a, B: Backend> Iterator for $name<'a, B> {
            type Item = $item;
            fn next(&mut self) -> Option<$item> {
                self.0.next().map($layer)
            }
            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }
        impl<B: Backend> DoubleEndedIterator for $name<'_, B> {
            fn next_back(&mut self) -> Option<Self::Item> {
                self.0.next_back().map($layer)
            }
        }
        impl<B: Backend> ExactSizeIterator for $name<'_, B> {}
    )* };
}
iterators! {
    Iter: &'a dyn Layer<B> = |element| &*element.layer as &dyn Layer<B>;
    IterMut: &'a mut dyn Layer<B> = |element| element.layer_mut() as &mut dyn Layer<B>;
}

impl<'a, B: Backend> IntoIterator for &'a Sequential<B> {
    type Item = &'a dyn Layer<B>;
    type IntoIter = Iter<'a, B>;
    fn into_iter(self) -> Iter<'a, B> {
        self.iter()
    }
}

impl<'a, B: Backend> IntoIterator for &'a mut Sequential<B> {
    type Item = &'a mut dyn Layer<B>;
    type IntoIter = IterMut<'a, B>;
    fn into_iter(self) -> IterMut<'a, B> {
        self.iter_mut()
    }
}

/// By hand, because the positions follow the module's own name directly, without `elements.` between.
impl<B: Backend> Module<B> for Sequential<B> {
    fn visit<'m>(&'m self, path: &mut Path, f: Visit<'_, 'm, B>) {
        path.module(self);
        self.elements.visit(path, f);
    }
    fn visit_mut<'m>(&'m mut self, path: &mut Path, f: VisitMut<'_, 'm, B>) {
        self.elements.visit_mut(path, f);
    }
}

impl<B: Backend> Module<B> for Element<B> {
    fn visit<'m>(&'m self, path: &mut Path, f: Visit<'_, 'm, B>) {
        self.layer.visit(path, f);
    }
    fn visit_mut<'m>(&'m mut self, path: &mut Path, f: VisitMut<'_, 'm, B>) {
        // Parameters, buffers and flags change; the modules stay where they are.
        self.layer.visit_mut(path, f);
    }
}
