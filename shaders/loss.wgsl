// Cross-entropy of logits [n, c] against classes [n], and its gradient; both in order.
//
// rows: logsumexp[r] = log(sum(exp(x[r]))), losses[r] = logsumexp[r] - x[r, target[r]], an invocation per row; grid = rows. A target
//       outside of 0..c is recorded and its row counts as 0. The mean of the losses is a reduction of its own.
// mean: both at once, for few rows: one workgroup, whose invocations walk over the rows, and a tree: out = the mean loss.
// grad: gx[r, k] = (exp(x[r, k] - logsumexp[r]) - [k = target[r]]) g / n, and 0 in the row of a bad target; an invocation per element.
// Cost: one read of the logits each way. All overwrite.
struct LossParams {
    n: u32,
    c: u32,
    // The first elements of the logits, the classes, and for grad logsumexp and g.
    x: u32,
    target_: u32,
    logsumexp: u32,
    g: u32,
    // Who records a bad class.
    op: u32,
}
@group(0) @binding(0) var<uniform> p: LossParams;
// [n] losses, [] their mean, or [n, c]
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
// [n], written by rows and mean
@group(0) @binding(2) var<storage, read_write> logsumexp: array<f32>;
// [op, index, bound, unused]; for grad not bound
@group(0) @binding(3) var<storage, read_write> bad: array<atomic<u32>, 4>;
@group(0) @binding(4) var<storage, read> x: array<f32>;
@group(0) @binding(5) var<storage, read> classes: array<i32>;
// The same for grad, which writes neither of them.
@group(0) @binding(2) var<storage, read> grad_x: array<f32>;
@group(0) @binding(3) var<storage, read> grad_classes: array<i32>;
@group(0) @binding(4) var<storage, read> grad_logsumexp: array<f32>;
@group(0) @binding(5) var<storage, read> g: array<f32>;

fn log_sum_exp(row: u32) -> f32 {
    var largest = -infinity();
    for (var k = 0u; k < p.c; k++) {
        let value = x[p.x + row * p.c + k];
        largest = select(largest, value, value > largest || is_nan(value));
    }
    // An infinite maximum is not subtracted: inf - inf would be NaN.
    let shift = select(largest, 0.0, is_infinite(largest));
    var sum = 0.0;
    for (var k = 0u; k < p.c; k++) {
        sum += exp_of(x[p.x + row * p.c + k] - shift);
    }
    return log_of(sum) + shift;
}

// The loss of a row; its logsumexp is kept.
fn loss(row: u32) -> f32 {
    let value = log_sum_exp(row);
    logsumexp[row] = value;
    let class_ = classes[p.target_ + row];
    if (class_ < 0 || u32(class_) >= p.c) {
        if (atomicCompareExchangeWeak(&bad[0], 0u, p.op).exchanged) {
            atomicStore(&bad[1], bitcast<u32>(class_));
            atomicStore(&bad[2], p.c);
        }
        return 0.0;
    }
    return value - x[p.x + row * p.c + u32(class_)];
}

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var row = thread_index(group, groups, local); row < p.n; row += thread_count(groups)) {
        out[row] = loss(row);
    }
}

var<workgroup> tree: array<f32, 256>;

@compute @workgroup_size(256)
fn mean(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var row = local; row < p.n; row += 256u) {
        sum += loss(row);
    }
    tree[local] = sum;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half >>= 1u) {
        if (local < half) {
            tree[local] += tree[local + half];
        }
        workgroupBarrier();
    }
    if (local == 0u) {
        out[0] = tree[0] / f32(p.n);
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
            let share = exp_of(grad_x[p.x + i] - grad_logsumexp[p.logsumexp + row]);
            out[i] = (share - select(0.0, 1.0, u32(class_) == i % p.c)) * scale;
        }
    }
}
