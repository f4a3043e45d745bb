// One optimizer step of several parameters. The formulas are at the configs of core/src/ops/optim.rs.
//
//   update, by OP:
//   SGD         p -= lr g, where g includes decay p
//   MOMENTUM    v = momentum v + (1 - dampening) g;  p -= lr v, or lr (g + momentum v) for Nesterov
//   ADAM        m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g²;  p = p (1 - lr decay) - size m / (sqrt(v) root + eps)
//               with size = lr / (1 - b1^n), root = 1 / sqrt(1 - b2^n); the factor of p is that of AdamW
//   RMSPROP..   v = a v + (1 - a) g²;  step = g / (sqrt(v) + eps);  p -= lr step; _CENTERED, _MOMENTUM, _BOTH
//   ADAGRAD     s += g²;  p -= lr / (1 + (n - 1) lr_decay) g / (sqrt(s) + eps)
//   count: t += 1, a dispatch of its own, after all others have read t
//
// A parameter, its gradient and its states are [numel] each and occupy a slot: as many per dispatch as the adapter binds buffers. Grid: z
// = slots; x and y = elements / 256, grid-stride. scalars = [learning rate, steps done]. n = t + 1 - missed is the parameter's own step
// number. Cost: SGD reads p and g and writes p; each state is read and written once.
struct Slot {
    numel: u32,
    // The gradient's first element.
    offset: u32,
    // Steps in which the parameter had no gradient.
    missed: f32,
    // Whether its states are new: all zeros.
    fresh: u32,
}
struct OptimParams {
    slots: array<Slot, 8>,
    // Weights of the old and of the new value in the first average: momentum and 1 - dampening; or beta1, or alpha, and its complement.
    first: vec2<f32>,
    // The same of Adam's second average.
    second: vec2<f32>,
    // log beta1, log beta2
    logs: vec2<f32>,
    // Weight decay: added to the gradient, or decoupled (AdamW).
    decay: f32,
    decoupled: f32,
    eps: f32,
    // The momentum of RMSprop, and of Nesterov's step.
    momentum: f32,
    // The learning rate decay of Adagrad.
    lr_decay: f32,
    // The initial state of Adagrad.
    start: f32,
    nesterov: u32,
}
@group(0) @binding(0) var<uniform> p: OptimParams;
@group(0) @binding(1) var<storage, read> scalars: array<f32>;
// shader.rs generates the bindings from 2 on and the functions that access them:
//   param(slot, i), set_param(slot, i, value)               the parameter
//   grad(slot, i)                                           its gradient
//   state(slot, k, i), set_state(slot, k, i, value)         state k, in the order of `StepRule::state_names`
@group(0) @binding(1) var<storage, read_write> counted: array<f32>;

// The rule, from which shader.rs generates the constants SGD, MOMENTUM, ..
override OP: u32 = 0u;

var<workgroup> rates: vec3<f32>;

// The gradient of element i with weight decay. Without decay nothing is added: 0 times an infinite parameter is NaN.
fn gradient(slot: u32, i: u32) -> f32 {
    var g = grad(slot, p.slots[slot].offset + i);
    if (p.decay != 0.0) {
        g += p.decay * param(slot, i);
    }
    return g;
}

// The steps of a parameter before this one.
fn steps(slot: u32) -> f32 {
    return scalars[1] - p.slots[slot].missed;
}

// What all elements of Adam share: the size, the root and the factor of p.
fn adam_rates(slot: u32) -> vec3<f32> {
    // 1 - beta^n without cancellation.
    let n = steps(slot) + 1.0;
    let lr = scalars[0];
    return vec3(-lr / expm1_of(n * p.logs.x), 1.0 / sqrt(-expm1_of(n * p.logs.y)), 1.0 - lr * p.decoupled);
}

// The exponential moving average of state k with x, which is stored.
fn averaged(slot: u32, k: u32, i: u32, weights: vec2<f32>, x: f32) -> f32 {
    let average = weights.x * state(slot, k, i) + weights.y * x;
    set_state(slot, k, i, average);
    return average;
}

// The new value of element i of a parameter, of RMSprop.
fn rmsprop(slot: u32, i: u32, g: f32) -> f32 {
    let centered = OP == RMSPROP_CENTERED || OP == RMSPROP_BOTH;
    var square = averaged(slot, 0u, i, p.first, g * g);
    if (centered) {
        let a = averaged(slot, 1u, i, p.first, g);
        let variance = square - a * a;
        square = or_nan(variance, max(variance, 0.0)); // rounding may make it negative
    }
    var change = g / (sqrt(square) + p.eps);
    if (OP == RMSPROP_MOMENTUM || OP == RMSPROP_BOTH) {
        let k = select(1u, 2u, centered);
        change = p.momentum * state(slot, k, i) + change;
        set_state(slot, k, i, change);
    }
    return param(slot, i) - scalars[0] * change;
}

// The new value of element i of a parameter.
fn updated(slot: u32, i: u32, g: f32, rate: vec3<f32>) -> f32 {
    switch (OP) {
        case SGD: { return param(slot, i) - scalars[0] * g; }
        case MOMENTUM: {
            var v = g;
            if (p.slots[slot].fresh == 0u) {
                v = p.first.y * g + p.first.x * state(slot, 0u, i);
            }
            set_state(slot, 0u, i, v);
            return param(slot, i) - scalars[0] * select(v, g + p.momentum * v, p.nesterov != 0u);
        }
        case ADAM: {
            let m = averaged(slot, 0u, i, p.first, g);
            let v = averaged(slot, 1u, i, p.second, g * g);
            return param(slot, i) * rate.z - rate.x * m / (sqrt(v) * rate.y + p.eps);
        }
        case ADAGRAD: {
            let s = state(slot, 0u, i) + select(0.0, p.start, p.slots[slot].fresh != 0u) + g * g;
            set_state(slot, 0u, i, s);
            return param(slot, i) - rate.x * g / (sqrt(s) + p.eps);
        }
        default: { return rmsprop(slot, i, g); }
    }
}

@compute @workgroup_size(256)
fn update(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let slot = group.z;
    var rate = vec3<f32>();
    if (OP == ADAM) {
        if (local == 0u) {
            rates = adam_rates(slot);
        }
        workgroupBarrier();
        rate = rates;
    } else if (OP == ADAGRAD) {
        rate.x = scalars[0] / (1.0 + steps(slot) * p.lr_decay);
    }
    for (var i = thread_index(group, groups, local); i < p.slots[slot].numel; i += thread_count(groups)) {
        set_param(slot, i, updated(slot, i, gradient(slot, i), rate));
    }
}

@compute @workgroup_size(1)
fn count() {
    counted[1] += 1.0;
}
