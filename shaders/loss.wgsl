// Cross-entropy of logits [n, c] against classes [n], and its gradient; both in order.
//
// rows: statistics[r] = max and rest of x[r], losses[r] = log1p(rest) + (max - x[r, target[r]]), an invocation per row; grid = rows.
//       The rest is the sum of exp(x - max) without one of the largest, whose exponential is 1: what is small keeps its digits. A
//       target outside of 0..c is recorded and its row counts as 0. The mean of the losses is a reduction of its own.
// wide: the same, a workgroup of 256 invocations per row, for many classes
// mean: rows and their mean at once, for few small rows: one workgroup, whose invocations walk over the rows, and a tree: out = the mean loss.
// grad: gx[r, k] = (exp(x[r, k] - max) / (1 + rest) - [k = target[r]]) g / n, and 0 in the row of a bad target; an invocation per element.
// Cost: one read of the logits each way. All overwrite.
struct LossParams {
    n: u32,
    c: u32,
    // The first elements of the logits, the classes, and for grad the statistics and g.
    x: u32,
    target_: u32,
    statistics: u32,
    g: u32,
    // Who records a bad class.
    op: u32,
}
@group(0) @binding(0) var<uniform> p: LossParams;
// [n] losses, [] their mean, or [n, c]
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
// [n, 2]: max and rest, written by all but grad
@group(0) @binding(2) var<storage, read_write> statistics: array<f32>;
// [op, index, bound, unused]; for grad not bound
@group(0) @binding(3) var<storage, read_write> bad: array<atomic<u32>, 4>;
@group(0) @binding(4) var<storage, read> x: array<f32>;
@group(0) @binding(5) var<storage, read> classes: array<i32>;
// The same for grad, which writes neither of them.
@group(0) @binding(2) var<storage, read> grad_x: array<f32>;
@group(0) @binding(3) var<storage, read> grad_classes: array<i32>;
@group(0) @binding(4) var<storage, read> grad_statistics: array<f32>;
@group(0) @binding(5) var<storage, read> g: array<f32>;

// What a row adds to the sum of the losses; its statistics are kept, and a bad class is recorded.
fn loss(row: u32, largest: f32, rest: f32) -> f32 {
    statistics[2u * row] = largest;
    statistics[2u * row + 1u] = rest;
    let class_ = classes[p.target_ + row];
    if (class_ < 0 || u32(class_) >= p.c) {
        record(class_);
        return 0.0;
    }
    return log1p_of(rest) + (largest - x[p.x + row * p.c + u32(class_)]);
}

// The first to come records. "Weak" may fail although the place is free, so it is tried until somebody has it.
fn record(class_: i32) {
    loop {
        let tried = atomicCompareExchangeWeak(&bad[0], 0u, p.op);
        if (tried.exchanged) {
            atomicStore(&bad[1], bitcast<u32>(class_));
            atomicStore(&bad[2], p.c);
        }
        if (tried.exchanged || tried.old_value != 0u) {
            return;
        }
    }
}

// The loss of a row by one invocation.
fn row_loss(row: u32) -> f32 {
    let first = p.x + row * p.c;
    var largest = -infinity();
    for (var k = 0u; k < p.c; k++) {
        largest = larger(largest, x[first + k]);
    }
    var sum = vec2<f32>();
    for (var k = 0u; k < p.c; k++) {
        sum += below_and_tie(x[first + k], largest);
    }
    return loss(row, largest, rest_of(sum, largest));
}

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var row = thread_index(group, groups, local); row < p.n; row += thread_count(groups)) {
        out[row] = row_loss(row);
    }
}

@compute @workgroup_size(256)
fn wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var row = group.y * groups.x + group.x; row < p.n; row += groups.x * groups.y) {
        let first = p.x + row * p.c;
        var largest = -infinity();
        for (var k = local; k < p.c; k += 256u) {
            largest = larger(largest, x[first + k]);
        }
        largest = join_max(largest, local);
        var sum = vec2<f32>();
        for (var k = local; k < p.c; k += 256u) {
            sum += below_and_tie(x[first + k], largest);
        }
        sum = vec2<f32>(join_sum(sum.x, local), join_sum(sum.y, local));
        if (local == 0u) {
            out[row] = loss(row, largest, rest_of(sum, largest));
        }
    }
}

@compute @workgroup_size(256)
fn mean(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var row = local; row < p.n; row += 256u) {
        sum += row_loss(row);
    }
    sum = join_sum(sum, local);
    if (local == 0u) {
        out[0] = sum / f32(p.n);
    }
}

@compute @workgroup_size(256)
fn grad(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let scale = g[p.g] / f32(p.n);
    for (var i = thread_index(group, groups, local); i < p.n * p.c; i += thread_count(groups)) {
        let row = i / p.c;
        let class_ = grad_classes[p.target_ + row];
        if (class_ < 0 || u32(class_) >= p.c) {
            out[i] = 0.0;
        } else {
            let largest = grad_statistics[p.statistics + 2u * row];
            let rest = grad_statistics[p.statistics + 2u * row + 1u];
            let value = grad_x[p.x + i];
            var share = exp_of(value - largest) / (1.0 + rest);
            if (u32(class_) == i % p.c) {
                // share - 1 would cancel where the class is the likely one.
                share = select(share - 1.0, -rest / (1.0 + rest), value == largest);
            }
            out[i] = share * scale;
        }
    }
}
