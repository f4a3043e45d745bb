//! The state of an optimizer, and its step.
//!
//! ```text
//! for each parameter with a gradient:  find its slot: group, state tensors, steps taken
//! for each group:                      backend.optimizer_step(rule, all slots of the group, [lr, t]),
//!                                      or rule.update(lr, steps taken, slot) for each slot
//! ```
//!
//! - `[lr, t]` is a tensor on the device and the kernel increments t, so a step uploads nothing unless the rate
//!   changes.
//! - t counts the steps of the group. A slot carries the steps that its parameter `missed`, so bias corrections use the
//!   parameter's own count, as in PyTorch.
//! - Every parameter is checked before the first one changes.
//! - A row-sparse gradient updates copies of the rows, which are then scattered back: see `rows.rs`.

use super::group::Group;
use super::rows::Rows;
use super::rule::{Rule, StepAt};
use crate::module::{EntryMut, Module, Param, Path};
use minitorch_core::autodiff::RowsOf;
use minitorch_core::backend::{StepRule, StepSlot};
use minitorch_core::{Backend, DType, Gradients, Layout, RowGradient, Shape, Tensor, no_grad};
use std::collections::HashMap;

/// Whether a parameter of this name and value belongs to a group.
pub(super) type Belongs<B> = Box<dyn Fn(&str, &Tensor<B>) -> bool + Send + Sync>;

/// The learning rate, the groups and the slots of all parameters that took part in a step.
pub(super) struct State<B: Backend> {
    pub(super) lr: f64,
    /// The groups in the order of their creation; the last one is the default group.
    pub(super) groups: Vec<GroupState<B>>,
    slots: Vec<Slot<B>>,
    /// The position in `slots`, by the id of the parameter.
    positions: HashMap<u64, usize>,
    /// Device and dtype of the parameters, from the first step on.
    place: Option<(B, DType)>,
}

/// A group and what its parameters share.
pub(super) struct GroupState<B: Backend> {
    /// `None` matches every parameter.
    belongs: Option<Belongs<B>>,
    group: Group,
    /// Steps in which a parameter of the group had a gradient.
    pub(super) steps: u64,
    /// `[lr, t]` on the device, and the lr that it holds.
    pub(super) scalars: Option<(Tensor<B>, f64)>,
}

/// The state of one parameter.
pub(super) struct Slot<B: Backend> {
    pub(super) group: usize,
    /// One tensor per [`Rule::state_names`]; empty before the first step.
    pub(super) state: Vec<Tensor<B>>,
    /// Steps in which this parameter had a gradient.
    pub(super) taken: u64,
}

/// A parameter that takes part in a step, and its gradient.
struct Update<'m, B: Backend> {
    param: &'m mut Param<B>,
    /// Contiguous: of the parameter's shape, or of `[rows, ..]`.
    grad: Tensor<B>,
    /// The indices of the rows of a row-sparse gradient.
    index: Option<Tensor<B>>,
    /// The position of its slot.
    slot: usize,
}

/// An update with the slot of its parameter.
struct SlotUpdate<'m, 's, B: Backend> {
    update: Update<'m, B>,
    slot: &'s mut Slot<B>,
    /// The gathered rows of a row-sparse update.
    rows: Option<Rows<B>>,
}

impl<B: Backend> State<B> {
    pub(super) fn new(lr: f64) -> Self {
        let default = GroupState { belongs: None, group: Group::new(), steps: 0, scalars: None };
        State { lr, groups: vec![default], slots: Vec::new(), positions: HashMap::new(), place: None }
    }

    #[track_caller]
    pub(super) fn assert_before_first_step(&self, owner: &str, setting: &str) {
        let stepped = self.slots.iter().any(|slot| slot.taken > 0);
        assert!(!stepped, "{owner}: {setting} must be set before the first step");
    }

    pub(super) fn add_group(&mut self, belongs: Belongs<B>, group: Group) {
        let default = self.groups.len() - 1;
        self.groups.insert(default, GroupState { belongs: Some(belongs), group, steps: 0, scalars: None });
    }

    /// The first group that a parameter belongs to.
    pub(super) fn group_of(&self, name: &str, param: &Tensor<B>) -> usize {
        let matches = |group: &GroupState<B>| group.belongs.as_ref().is_none_or(|belongs| belongs(name, param));
        // The default group matches, so there is always one.
        self.groups.iter().position(matches).unwrap_or_default()
    }

    pub(super) fn slot(&self, param: u64) -> Option<&Slot<B>> {
        self.positions.get(&param).map(|&at| &self.slots[at])
    }

    /// Adds the slot of a parameter, or replaces the one that it has.
    pub(super) fn set_slot(&mut self, param: u64, slot: Slot<B>) {
        match self.positions.get(&param) {
            Some(&at) => self.slots[at] = slot,
            None => {
                self.positions.insert(param, self.slots.len());
                self.slots.push(slot);
            }
        }
    }

    /// One step of every parameter that has a gradient.
    #[track_caller]
    pub(super) fn step<R: Rule>(&mut self, settings: R, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>) {
        settings.kernel(); // contradictory settings panic even if no parameter has a gradient
        let mut updates: Vec<Update<'_, B>> = Vec::new();
        let mut new: Vec<(u64, Slot<B>)> = Vec::new();
        let mut place = self.place.clone();
        let mut mismatch = None;
        let (mut params, mut frozen) = (0, 0);
        model.visit_mut(&mut Path::default(), &mut |name, entry| {
            let EntryMut::Param(param) = entry else { return };
            params += 1;
            frozen += usize::from(param.is_frozen());
            let Some(grad) = Grad::of(grads, param) else { return };
            let (slot, group) = match self.positions.get(&param.id()) {
                Some(&at) => (at, self.slots[at].group),
                None => {
                    let group = self.group_of(name, param);
                    new.push((param.id(), Slot { group, state: Vec::new(), taken: 0 }));
                    (self.slots.len() + new.len() - 1, group)
                }
            };
            let group = &self.groups[group].group;
            let grad = grad.for_step(group.lazy, group.rule(settings).skips_zeros());
            let (device, dtype) = place.get_or_insert_with(|| (param.device().clone(), param.dtype()));
            if mismatch.is_none() {
                mismatch = describe_mismatch(name, param, &grad, device, *dtype);
            }
            // The step panics after a mismatch, so later gradients need not be made dense or contiguous.
            if mismatch.is_none() {
                let (grad, index) = grad.into_contiguous();
                updates.push(Update { param, grad, index, slot });
            }
        });
        if let Some(why) = mismatch {
            panic!("step: {why}");
        }
        let Some((device, dtype)) = place.filter(|_| !updates.is_empty()) else {
            panic!("step: {}", nothing_to_update(params, frozen, grads.len()));
        };
        for (param, slot) in new {
            self.set_slot(param, slot);
        }

        // Disjoint borrows of the slots, in the order of the walk.
        let mut slots: Vec<Option<&mut Slot<B>>> = self.slots.iter_mut().map(Some).collect();
        let mut updates: Vec<SlotUpdate<'_, '_, B>> = updates
            .into_iter()
            .filter_map(|update| {
                let slot = slots[update.slot].take()?;
                let rule = self.groups[slot.group].group.rule(settings);
                if slot.state.is_empty() {
                    let initial = || Tensor::full(*update.param.shape(), rule.initial_state(), (&device, dtype));
                    slot.state.extend(rule.state_names().iter().map(|_| initial()));
                }
                let rows = update.index.as_ref().map(|index| Rows::read(index, update.param, &slot.state));
                Some(SlotUpdate { update, slot, rows })
            })
            .collect();
        for (at, group) in self.groups.iter_mut().enumerate() {
            let mut batch: Vec<&mut SlotUpdate<'_, '_, B>> =
                updates.iter_mut().filter(|update| update.slot.group == at).collect();
            if batch.is_empty() {
                continue;
            }
            let (rule, lr) = (group.group.rule(settings), self.lr * group.group.lr_scale);
            match rule.kernel() {
                Some(kernel) => group.step_fused(&kernel, &mut batch, lr, &device, dtype),
                None => batch.iter_mut().for_each(|update| update.step_composed(rule, lr)),
            }
            group.steps += 1;
            for SlotUpdate { update, slot, rows } in batch {
                if let Some(rows) = rows.take() {
                    rows.write(update.param, &mut slot.state);
                }
                slot.taken += 1;
            }
        }
        self.place = Some((device, dtype));
    }
}

/// Why a step would change nothing.
fn nothing_to_update(params: usize, frozen: usize, grads: usize) -> String {
    match (params, grads) {
        (0, _) => "the model has no parameters".into(),
        (_, _) if frozen == params => {
            format!("all parameters of the model are frozen ({params}), so nothing would change; unfreeze some")
        }
        (_, 0) => {
            "there are no gradients: the loss depends on no parameter, as if it was detached or computed in no_grad"
                .into()
        }
        _ => {
            let but = if frozen > 0 { format!(" ({frozen} frozen)") } else { String::new() };
            format!(
                "none of the {grads} gradients is of one of the model's {params} parameters{but}: they are of another \
                 model, such as one that this is a clone of"
            )
        }
    }
}

impl<B: Backend> SlotUpdate<'_, '_, B> {
    /// A step by tensor operations. Halves are computed on F32 copies, so that each result is rounded once.
    fn step_composed(&mut self, rule: impl Rule, lr: f64) {
        let SlotUpdate { update: Update { param, grad, .. }, slot, rows } = self;
        let at = StepAt { lr, step: slot.taken + 1 };
        let stepped = |value: Tensor<B>, state: &mut [Tensor<B>]| {
            if value.dtype() != DType::F16 {
                return rule.update(at, value, grad.clone(), state);
            }
            let wide = |half: &Tensor<B>| half.cast(DType::F32);
            let mut wide_state: Vec<Tensor<B>> = state.iter().map(wide).collect();
            let new = rule.update(at, wide(&value), wide(grad), &mut wide_state);
            for (half, wide) in state.iter_mut().zip(wide_state) {
                *half = wide.cast(DType::F16);
            }
            new.cast(DType::F16)
        };
        no_grad(|| match rows {
            Some(rows) => rows.param = stepped(rows.param.clone(), &mut rows.state),
            None => param.set(stepped(param.detach(), &mut slot.state)),
        });
    }
}

impl<B: Backend> GroupState<B> {
    /// A step by the backend's kernel of the rule.
    fn step_fused(
        &mut self,
        kernel: &StepRule,
        batch: &mut [&mut SlotUpdate<'_, '_, B>],
        lr: f64,
        device: &B,
        dtype: DType,
    ) {
        let steps = self.steps;
        let slots = batch.iter_mut().map(|SlotUpdate { update, slot, rows }| {
            let missed = steps - slot.taken;
            // `fresh` promises zeros, and that all elements are stepped for the first time.
            let fresh = slot.taken == 0 && rows.is_none() && kernel.initial_state() == 0.0;
            let (param, state) = match rows {
                Some(rows) => (rows.param.storage_mut().1, &mut rows.state),
                None => (update.param.storage_mut().1, &mut slot.state),
            };
            let state = state.iter_mut().map(|state| state.storage_mut().1).collect();
            StepSlot { param, state, grad: update.grad.view(), missed, fresh }
        });
        let mut slots: Vec<StepSlot<'_, B>> = slots.collect();
        device.optimizer_step(kernel, &mut slots, self.scalars(lr, device, dtype).storage_mut().1);
    }

    /// `[lr, t]` on the device: uploaded at the first step, lr overwritten when it has changed.
    fn scalars(&mut self, lr: f64, device: &B, dtype: DType) -> &mut Tensor<B> {
        // F16 counts to 2048 only.
        let dtype = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let upload = || (Tensor::from_f64([lr, self.steps as f64], [2], (device, dtype)), lr);
        let (scalars, held) = self.scalars.get_or_insert_with(upload);
        if *held != lr {
            let (device, storage) = scalars.storage_mut();
            device.fill(storage, &Layout::new([1], &[1], 0), dtype, lr);
            *held = lr;
        }
        scalars
    }
}

impl Group {
    /// The rule with the weight decay of this group.
    fn rule<R: Rule>(&self, mut settings: R) -> R {
        if let Some(decay) = self.weight_decay {
            *settings.weight_decay_mut() = decay;
        }
        settings
    }
}

/// The gradient of a parameter.
enum Grad<'g, B: Backend> {
    Dense(&'g Tensor<B>),
    Rows(&'g RowGradient<B>),
}

impl<'g, B: Backend> Grad<'g, B> {
    fn of(grads: &'g Gradients<Tensor<B>>, param: &Param<B>) -> Option<Self> {
        match grads.rows(param) {
            Some(rows) => Some(Grad::Rows(rows)),
            None => grads.get(param).map(Grad::Dense),
        }
    }

    /// Stays row-sparse if the group is lazy, or if the rule skips zeros and the rows are few.
    fn for_step(self, lazy: bool, skips_zeros: bool) -> Self {
        match self {
            Grad::Rows(rows) if lazy || skips_zeros && rows.are_few() => self,
            Grad::Rows(rows) => Grad::Dense(rows.whole()),
            Grad::Dense(_) => self,
        }
    }

    fn shape(&self) -> &Shape {
        match self {
            Grad::Dense(tensor) => tensor.shape(),
            Grad::Rows(rows) => rows.shape(),
        }
    }

    fn dtype(&self) -> DType {
        match self {
            Grad::Dense(tensor) => tensor.dtype(),
            Grad::Rows(rows) => rows.dtype(),
        }
    }

    fn device(&self) -> &B {
        match self {
            Grad::Dense(tensor) => tensor.device(),
            Grad::Rows(rows) => rows.device(),
        }
    }

    /// The values, row-major, which [`StepSlot`] requires; and the indices of their rows if they are row-sparse.
    fn into_contiguous(self) -> (Tensor<B>, Option<Tensor<B>>) {
        match self {
            Grad::Dense(tensor) => (tensor.detach().contiguous(), None),
            Grad::Rows(rows) => (rows.totals(), Some(rows.index().clone())),
        }
    }
}

/// Why a parameter cannot take part in a step.
fn describe_mismatch<B: Backend>(
    name: &str,
    param: &Param<B>,
    grad: &Grad<'_, B>,
    device: &B,
    dtype: DType,
) -> Option<String> {
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
