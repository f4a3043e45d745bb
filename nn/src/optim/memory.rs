//! What an optimizer remembers: state tensors by parameter, and the scalars of each group on the device.

use super::Group;
use super::rows::Rows;
use crate::module::{EntryMut, Module, Param, Path};
use minitorch_core::autodiff::RowsOf;
use minitorch_core::backend::{StepRule, StepSlot};
use minitorch_core::{Backend, DType, Gradients, Layout, RowGradient, Shape, Tensor};
use std::collections::HashMap;

/// Whether a parameter of this name and value belongs to a group.
pub(super) type Belongs<B> = Box<dyn Fn(&str, &Tensor<B>) -> bool + Send + Sync>;

pub(super) struct Memory<B: Backend> {
    pub(super) lr: f64,
    /// The optimizer's groups in the order of their making, and last the default.
    pub(super) groups: Vec<Members<B>>,
    pub(super) by_param: HashMap<u64, Slot<B>>,
    /// Where the scalars are, since the first step.
    place: Option<(B, DType)>,
}

/// A group of parameters.
pub(super) struct Members<B: Backend> {
    /// `None` takes all.
    belongs: Option<Belongs<B>>,
    group: Group,
    /// Steps in which a member had a gradient.
    pub(super) steps: u64,
    /// `[lr, t]`, and the lr that it holds.
    pub(super) scalars: Option<(Tensor<B>, f64)>,
}

pub(super) struct Slot<B: Backend> {
    pub(super) group: usize,
    pub(super) state: Vec<Tensor<B>>,
    /// Steps that this parameter took part in: the others of its group's count it missed.
    pub(super) taken: u64,
}

/// A parameter of one step.
struct Entry<'m, B: Backend> {
    param: &'m mut Param<B>,
    grad: Tensor<B>,
    /// Which rows `grad` is of, if it is not of all.
    rows: Option<Tensor<B>>,
    group: usize,
}

impl<B: Backend> Memory<B> {
    pub(super) fn new(lr: f64) -> Self {
        let all = Members { belongs: None, group: Group::new(), steps: 0, scalars: None };
        Memory { lr, groups: vec![all], by_param: HashMap::new(), place: None }
    }

    #[track_caller]
    pub(super) fn before_the_first_step(&self, what: &str) {
        assert!(self.by_param.is_empty(), "{what} must be set before the first step");
    }

    pub(super) fn add_group(&mut self, belongs: Belongs<B>, group: Group) {
        let default = self.groups.len() - 1;
        self.groups.insert(default, Members { belongs: Some(belongs), group, steps: 0, scalars: None });
    }

    /// The group of a parameter that is met for the first time.
    pub(super) fn group_of(&self, name: &str, param: &Tensor<B>) -> usize {
        let takes = |members: &Members<B>| members.belongs.as_ref().is_none_or(|belongs| belongs(name, param));
        // The last takes all.
        self.groups.iter().position(takes).unwrap_or_default()
    }

    /// Gathers parameters, states and gradients, and hands them to the backend, a group at a time.
    #[track_caller]
    pub(super) fn step(&mut self, rule: StepRule, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>) {
        // All is checked before anything changes. A name is read for a complaint and at first sight; the walk forms it in
        // place, so a warm step allocates none.
        let mut found: Vec<Entry<'_, B>> = Vec::new();
        let mut place = self.place.clone();
        let mut complaint = None;
        model.visit_mut(&mut Path::default(), &mut |name, entry| {
            let EntryMut::Param(param) = entry else { return };
            let Some(grad) = Found::new(grads, param) else { return };
            let group = match self.by_param.get(&param.id()) {
                Some(slot) => slot.group,
                None => self.group_of(name, param),
            };
            let grad = grad.of_step(&self.groups[group].group, rule);
            let (device, dtype) = place.get_or_insert_with(|| (param.device().clone(), param.dtype()));
            if complaint.is_none() {
                complaint = misfit(name, param, &grad, device, *dtype);
            }
            // What does not fit is not added up either: its step is not taken.
            if complaint.is_none() {
                let (grad, rows) = grad.take();
                found.push(Entry { param, grad, rows, group });
            }
        });
        if let Some(why) = complaint {
            panic!("step: {why}");
        }
        let Some((device, dtype)) = place.filter(|_| !found.is_empty()) else { return };
        for group in 0..self.groups.len() {
            self.step_group(group, rule, &device, dtype, &mut found);
        }
        self.place = Some((device, dtype));
    }

    fn step_group(&mut self, group: usize, rule: StepRule, device: &B, dtype: DType, found: &mut [Entry<'_, B>]) {
        let Memory { lr, groups, by_param, .. } = self;
        let members = &mut groups[group];
        let mut memory: Vec<(u64, Slot<B>, Option<Rows<B>>)> = Vec::with_capacity(found.len());
        for entry in found.iter().filter(|entry| entry.group == group) {
            let start = if entry.rows.is_some() { rule.initial_state() } else { 0.0 };
            let first = || Tensor::full(*entry.param.shape(), start, (device, dtype));
            let fresh = || Slot { group, state: (0..rule.states()).map(|_| first()).collect(), taken: 0 };
            let id = entry.param.id();
            let slot = by_param.remove(&id).unwrap_or_else(fresh);
            let rows = entry.rows.as_ref().map(|index| Rows::read(index, entry.param, &slot.state));
            memory.push((id, slot, rows));
        }
        if memory.is_empty() {
            return;
        }
        let mut slots: Vec<StepSlot<'_, B>> = Vec::with_capacity(memory.len());
        for (entry, (_, slot, rows)) in found.iter_mut().filter(|entry| entry.group == group).zip(&mut memory) {
            let missed = members.steps - slot.taken;
            let fresh = slot.taken == 0 && rows.is_none();
            let (param, state) = match rows {
                Some(rows) => (rows.param.storage_mut().1, &mut rows.state),
                None => (entry.param.storage_mut().1, &mut slot.state),
            };
            let state = state.iter_mut().map(|state| state.storage_mut().1).collect();
            slots.push(StepSlot { param, state, grad: entry.grad.view(), missed, fresh });
        }
        let lr = *lr * members.group.lr_scale;
        let mut scalars = members.scalars(lr, device, dtype);
        device.optimizer_step(&members.group.applied(rule), &mut slots, scalars.storage_mut().1);
        drop(slots);
        members.scalars = Some((scalars, lr));
        members.steps += 1;
        for (entry, (id, mut slot, rows)) in found.iter_mut().filter(|entry| entry.group == group).zip(memory) {
            if let Some(rows) = rows {
                rows.write(entry.param, &mut slot.state);
            }
            slot.taken += 1;
            by_param.insert(id, slot);
        }
    }
}

/// A gradient as a step takes it.
enum Found<'g, B: Backend> {
    Whole(&'g Tensor<B>),
    Rows(&'g RowGradient<B>),
}

impl<'g, B: Backend> Found<'g, B> {
    /// The gradient of a parameter, as it is known, if there is one.
    fn new(grads: &'g Gradients<Tensor<B>>, param: &Param<B>) -> Option<Self> {
        match grads.rows(param) {
            Some(rows) => Some(Found::Rows(rows)),
            None => grads.get(param).map(Found::Whole),
        }
    }

    /// In rows only if the group says so, or if that is less work for the same numbers.
    fn of_step(self, group: &Group, rule: StepRule) -> Self {
        match self {
            Found::Rows(rows) if group.lazy || group.applied(rule).skips_zeros() && rows.are_few() => self,
            Found::Rows(rows) => Found::Whole(rows.whole()),
            Found::Whole(_) => self,
        }
    }

    fn shape(&self) -> &Shape {
        match self {
            Found::Whole(whole) => whole.shape(),
            Found::Rows(rows) => rows.shape(),
        }
    }

    fn dtype(&self) -> DType {
        match self {
            Found::Whole(whole) => whole.dtype(),
            Found::Rows(rows) => rows.dtype(),
        }
    }

    fn device(&self) -> &B {
        match self {
            Found::Whole(whole) => whole.device(),
            Found::Rows(rows) => rows.device(),
        }
    }

    /// The numbers, and which rows they are of if not of all.
    fn take(self) -> (Tensor<B>, Option<Tensor<B>>) {
        match self {
            Found::Whole(whole) => (whole.detach().contiguous(), None),
            Found::Rows(rows) => (rows.totals(), Some(rows.index().clone())),
        }
    }
}

impl<B: Backend> Members<B> {
    /// `[lr, t]` on the device, made at the first step and written again when the rate has changed.
    fn scalars(&mut self, lr: f64, device: &B, dtype: DType) -> Tensor<B> {
        // F16 counts to 2048 only.
        let dtype = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        match self.scalars.take() {
            Some((mut scalars, held)) => {
                if held != lr {
                    let (device, storage) = scalars.storage_mut();
                    device.fill(storage, &Layout::new([1], &[1], 0), dtype, lr);
                }
                scalars
            }
            None => Tensor::from_f64([lr, self.steps as f64], [2], (device, dtype)),
        }
    }
}

impl Group {
    /// The rule with the group's weight decay.
    fn applied(&self, mut rule: StepRule) -> StepRule {
        if let Some(decay) = self.weight_decay {
            *match &mut rule {
                StepRule::Sgd(config) => &mut config.weight_decay,
                StepRule::Adam(config) => &mut config.weight_decay,
                StepRule::RmsProp(config) => &mut config.weight_decay,
                StepRule::Adagrad(config) => &mut config.weight_decay,
            } = decay;
        }
        rule
    }
}

/// What keeps a parameter out of a step with the others.
fn misfit<B: Backend>(name: &str, param: &Param<B>, grad: &Found<'_, B>, device: &B, dtype: DType) -> Option<String> {
    if param.dtype() != dtype || param.device() != device {
        return Some(format!(
            "all parameters must be of one dtype on one device; {name} is of {} on {:?}, those before of {dtype} on {device:?}",
            param.dtype(),
            param.device()
        ));
    }
    let fits = grad.shape() == param.shape() && grad.dtype() == dtype && grad.device() == device;
    (!fits).then(|| {
        format!(
            "{name} is {:?} of {dtype} on {device:?}, its gradient {:?} of {} on {:?}",
            param.shape(),
            grad.shape(),
            grad.dtype(),
            grad.device()
        )
    })
}
