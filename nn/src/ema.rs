//! Averages of a model's weights.

use crate::module::{Entry, EntryMut, Module, Path};
use minitorch_core::{Backend, Tensor};

/// The exponential moving average of a model's parameters, which often evaluates better than the last weights. Buffers
/// are copied, not averaged. Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
/// PyTorch: `swa_utils.AveragedModel` with `get_ema_multi_avg_fn(decay)`.
///
/// The initial average is the model's values at construction, and every update averages, so that a loaded average is
/// continued. PyTorch's first update copies the parameters instead: for its numbers, construct the `Ema` in place of
/// that update.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let mut model = Linear::new(2, 1, &device);
/// let mut optimizer = Sgd::new(0.1);
/// let mut ema = Ema::new(&model, 0.99);
/// for _ in 0..3 {
///     let loss = model.forward(&Tensor::ones([4, 2], &device)).square().mean(..);
///     optimizer.step(&mut model, &loss.backward());
///     ema.update(&model);
/// }
/// ema.swap(&mut model); // evaluate or save the averages
/// ema.swap(&mut model); // continue training
/// ```
///
/// To save the average, swap, save the model and swap back; to resume, construct an `Ema` of the model, swap, load that
/// file and swap back.
pub struct Ema<B: Backend> {
    decay: f64,
    /// Identities and values of the parameters, in the order of the walk.
    params: Vec<(u64, Tensor<B>)>,
    /// Values of the buffers, in the order of the walk.
    buffers: Vec<Tensor<B>>,
    /// Whether the model holds the averages.
    swapped: bool,
}

impl<B: Backend> Ema<B> {
    /// An average with the model's values. Storage is copy-on-write.
    ///
    /// # Panics
    /// If the decay is outside [0, 1].
    #[track_caller]
    pub fn new(model: &(impl Module<B> + ?Sized), decay: f64) -> Self {
        assert!((0.0..=1.0).contains(&decay), "Ema: a decay of {decay} is outside [0, 1]");
        let (mut params, mut buffers) = (Vec::new(), Vec::new());
        model.visit(&mut Path::default(), &mut |_, entry| match entry {
            Entry::Param(param) => params.push((param.id(), param.detach())),
            Entry::Buffer(buffer) => buffers.push(buffer.get()),
            Entry::Training(_) => {}
        });
        Ema { decay, params, buffers, swapped: false }
    }

    /// `average += (1 - decay) (parameter - average)` for every parameter, and a copy of every buffer.
    ///
    /// # Panics
    /// If the model holds the averages, or is not the model that is averaged.
    #[track_caller]
    pub fn update(&mut self, model: &(impl Module<B> + ?Sized)) {
        assert!(!self.swapped, "Ema: the model holds the averages; swap back before the update");
        self.check(model);
        let (mut params, mut buffers) = (self.params.iter_mut(), self.buffers.iter_mut());
        let share = 1.0 - self.decay;
        model.visit(&mut Path::default(), &mut |_, entry| match entry {
            Entry::Param(param) => {
                if let Some((_, average)) = params.next() {
                    let mut step = param.detach();
                    step -= &*average;
                    step *= share;
                    *average += step;
                }
            }
            Entry::Buffer(buffer) => {
                if let Some(average) = buffers.next() {
                    *average = buffer.get();
                }
            }
            Entry::Training(_) => {}
        });
    }

    /// Exchanges the model's parameters and buffers with the averages; a second call restores them. The identities of
    /// parameters are preserved.
    ///
    /// # Panics
    /// If it is not the model that is averaged.
    #[track_caller]
    pub fn swap(&mut self, model: &mut (impl Module<B> + ?Sized)) {
        self.check(model);
        let (mut params, mut buffers) = (self.params.iter_mut(), self.buffers.iter_mut());
        model.visit_mut(&mut Path::default(), &mut |_, entry| match entry {
            EntryMut::Param(param) => {
                if let Some((_, average)) = params.next() {
                    let value = param.detach();
                    param.set(std::mem::replace(average, value));
                }
            }
            EntryMut::Buffer(buffer) => {
                if let Some(average) = buffers.next() {
                    let value = buffer.get();
                    buffer.set(std::mem::replace(average, value));
                }
            }
            EntryMut::Training(_) => {}
        });
        self.swapped = !self.swapped;
    }

    /// Whether the model holds the averages.
    pub fn is_swapped(&self) -> bool {
        self.swapped
    }

    /// Panics unless the model has the parameters and buffers of the average.
    #[track_caller]
    fn check(&self, model: &(impl Module<B> + ?Sized)) {
        let (mut params, mut buffers) = (self.params.iter(), 0);
        let mut foreign = None;
        model.visit(&mut Path::default(), &mut |name, entry| match entry {
            Entry::Param(param) => {
                if params.next().is_none_or(|(id, _)| *id != param.id()) && foreign.is_none() {
                    foreign = Some(name.to_string());
                }
            }
            Entry::Buffer(_) => buffers += 1,
            Entry::Training(_) => {}
        });
        if let Some(name) = foreign {
            panic!("Ema: the parameter {name} is not of the averaged model");
        }
        let (left, had) = (params.count(), self.buffers.len());
        assert!(
            left == 0 && buffers == had,
            "Ema: the model lacks {left} of the average's parameters, and has {buffers} buffers instead of {had}"
        );
    }
}
