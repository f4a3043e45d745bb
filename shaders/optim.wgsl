// One optimizer step of several parameters. Formulas: at the configs of core/src/ops/optim.rs.
//
//   sgd         p -= lr g                                                         g with decay: g + decay p
//   momentum    v = keep v + share g;  p -= lr v, or lr (g + ahead v) by Nesterov
//   adam        m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g²;  p = p kept - size m / (sqrt(v) root + eps)
//               with size = lr / (1 - b1^n), root = 1 / sqrt(1 - b2^n); kept = 1 - lr decay for AdamW
//   rmsprop..   v = a v + (1 - a) g²;  step = g / (sqrt(v) + eps);  p -= lr step; _centered, _momentum, _both
//   adagrad     s += g²;  p -= lr / (1 + (n - 1) lr_decay) g / (sqrt(s) + eps)
//   count       t += 1: a dispatch of its own at the end, as by then all have read t
//
// A parameter, its gradient and its states are [numel] and take a slot: as many parameters per dispatch as the adapter binds
// buffers, the slot being the workgroup's z. scalars is [2]: the learning rate, and how many steps are done. Workgroups of 256,
// an element per invocation and turn; the first invocation of each computes what is the same for all elements, from lr and the
// parameter's own step number n = t + 1 - missed. Cost: SGD reads p and g and writes p; each state is read and written once.
struct Slot {
    numel: u32,
    // The gradient's first element.
    offset: u32,
    // Steps in which the parameter had no gradient.
    missed: f32,
    // Whether its states are new, still all zeros.
    fresh: u32,
}
struct OptimParams {
    slots: array<Slot, 8>,
    // Of the first average: what is kept and what enters. Momentum and 1 - dampening, beta1, alpha.
    first: vec2<f32>,
    // Of Adam's second average.
    second: vec2<f32>,
    // log beta1, log beta2
    logs: vec2<f32>,
    // The penalty's factor: of the gradient, and of the parameter itself (AdamW).
    decay: f32,
    decoupled: f32,
    eps: f32,
    // RMSprop's momentum; Nesterov's share of the velocity.
    momentum: f32,
    // Adagrad's.
    lr_decay: f32,
    // What is added to a fresh state first: Adagrad's start.
    start: f32,
    nesterov: u32,
}
@group(0) @binding(0) var<uniform> p: OptimParams;
@group(0) @binding(1) var<storage, read> scalars: array<f32>;
// What follows from 2 on, and the functions that reach it, is written by sources.rs for so many slots and states; of each slot:
//   param(slot, i), set_param(slot, i, value)               the parameter
//   grad(slot, i)                                           its gradient
//   state(slot, k, i), set_state(slot, k, i, value)         state k, in the order of `StepRule::state_names`
@group(0) @binding(1) var<storage, read_write> counted: array<f32>;

var<workgroup> rates: vec3<f32>;

// The gradient of element i with the penalty. Without decay `0 p` would turn an infinite parameter into NaN.
fn gradient(slot: u32, i: u32) -> f32 {
    var g = grad(slot, p.slots[slot].offset + i);
    if (p.decay != 0.0) {
        g += p.decay * param(slot, i);
    }
    return g;
}

// The parameter's own count of steps, without this one.
fn steps(slot: u32) -> f32 {
    return scalars[1] - p.slots[slot].missed;
}

@compute @workgroup_size(256)
fn sgd(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let slot = group.z;
    for (var i = thread_index(group, groups, local); i < p.slots[slot].numel; i += thread_count(groups)) {
        set_param(slot, i, param(slot, i) - scalars[0] * gradient(slot, i));
    }
}

@compute @workgroup_size(256)
fn momentum(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let slot = group.z;
    for (var i = thread_index(group, groups, local); i < p.slots[slot].numel; i += thread_count(groups)) {
        let g = gradient(slot, i);
        var v = g;
        if (p.slots[slot].fresh == 0u) {
            v = p.first.y * g + p.first.x * state(slot, 0u, i);
        }
        set_state(slot, 0u, i, v);
        set_param(slot, i, param(slot, i) - scalars[0] * select(v, g + p.momentum * v, p.nesterov != 0u));
    }
}

@compute @workgroup_size(256)
fn adam(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let slot = group.z;
    if (local == 0u) {
        // 1 - beta^n without cancellation.
        let n = steps(slot) + 1.0;
        let lr = scalars[0];
        rates = vec3(-lr / expm1_of(n * p.logs.x), 1.0 / sqrt(-expm1_of(n * p.logs.y)), 1.0 - lr * p.decoupled);
    }
    workgroupBarrier();
    let rate = rates;
    for (var i = thread_index(group, groups, local); i < p.slots[slot].numel; i += thread_count(groups)) {
        let g = gradient(slot, i);
        let m = p.first.x * state(slot, 0u, i) + p.first.y * g;
        let v = p.second.x * state(slot, 1u, i) + p.second.y * (g * g);
        set_state(slot, 0u, i, m);
        set_state(slot, 1u, i, v);
        set_param(slot, i, param(slot, i) * rate.z - rate.x * m / (sqrt(v) * rate.y + p.eps));
    }
}

// The mean square after this step, and the step from a mean square.
fn mean_square(slot: u32, i: u32, g: f32) -> f32 {
    let v = p.first.x * state(slot, 0u, i) + p.first.y * (g * g);
    set_state(slot, 0u, i, v);
    return v;
}
fn variance(slot: u32, i: u32, g: f32) -> f32 {
    let v = mean_square(slot, i, g);
    let a = p.first.x * state(slot, 1u, i) + p.first.y * g;
    set_state(slot, 1u, i, a);
    let variance = v - a * a;
    return or_nan(variance, max(variance, 0.0)); // rounding may take it below 0
}
fn normal_step(g: f32, square: f32) -> f32 {
    return g / (sqrt(square) + p.eps);
}

@compute @workgroup_size(256)
fn rmsprop(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let slot = group.z;
    for (var i = thread_index(group, groups, local); i < p.slots[slot].numel; i += thread_count(groups)) {
        let g = gradient(slot, i);
        set_param(slot, i, param(slot, i) - scalars[0] * normal_step(g, mean_square(slot, i, g)));
    }
}

@compute @workgroup_size(256)
fn rmsprop_centered(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let slot = group.z;
    for (var i = thread_index(group, groups, local); i < p.slots[slot].numel; i += thread_count(groups)) {
        let g = gradient(slot, i);
        set_param(slot, i, param(slot, i) - scalars[0] * normal_step(g, variance(slot, i, g)));
    }
}

@compute @workgroup_size(256)
fn rmsprop_momentum(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let slot = group.z;
    for (var i = thread_index(group, groups, local); i < p.slots[slot].numel; i += thread_count(groups)) {
        let g = gradient(slot, i);
        let b = p.momentum * state(slot, 1u, i) + normal_step(g, mean_square(slot, i, g));
        set_state(slot, 1u, i, b);
        set_param(slot, i, param(slot, i) - scalars[0] * b);
    }
}

@compute @workgroup_size(256)
fn rmsprop_both(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let slot = group.z;
    for (var i = thread_index(group, groups, local); i < p.slots[slot].numel; i += thread_count(groups)) {
        let g = gradient(slot, i);
        let b = p.momentum * state(slot, 2u, i) + normal_step(g, variance(slot, i, g));
        set_state(slot, 2u, i, b);
        set_param(slot, i, param(slot, i) - scalars[0] * b);
    }
}

@compute @workgroup_size(256)
fn adagrad(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let slot = group.z;
    let start = select(0.0, p.start, p.slots[slot].fresh != 0u);
    let rate = scalars[0] / (1.0 + steps(slot) * p.lr_decay);
    for (var i = thread_index(group, groups, local); i < p.slots[slot].numel; i += thread_count(groups)) {
        let g = gradient(slot, i);
        let s = state(slot, 0u, i) + start + g * g;
        set_state(slot, 0u, i, s);
        set_param(slot, i, param(slot, i) - rate * g / (sqrt(s) + p.eps));
    }
}

@compute @workgroup_size(1)
fn count() {
    counted[1] += 1.0;
}
