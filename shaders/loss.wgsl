// Cross-entropy of logits [n, c] against classes [n], and its gradient; both contiguous.
//
//   rows             statistics[r] = (max, rest) of x[r]; out[r] = log1p(rest) + (max - x[r, class[r]]); an invocation per row
//   rows_workgroup   the same for many classes: a workgroup of 256 invocations per row
//   mean             rows and out[0] = their mean, for few small rows: one workgroup
//   grad             out[r, k] = (exp(x[r, k] - max) / (1 + rest) - [k = class[r]]) g / n; an invocation per element
//
// The rest is the sum of exp(x - max) without one of the largest, whose exponential is 1: small terms keep their precision. A class
// outside 0..c is recorded, and its row counts as 0. Grids: one invocation (rows, grad) or workgroup per item, grid-stride. Cost: one
// read of the logits each way. Overwrites out.
struct LossParams {
    n: u32,
    c: u32,
    // The first elements of the logits, of the classes, and for grad of the statistics and of g.
    x: u32,
    target_: u32,
    statistics: u32,
    g: u32,
    // The id of the `Caller`, recorded with a class out of range.
    caller: u32,
}
@group(0) @binding(0) var<uniform> p: LossParams;
// [n] losses, [] their mean, or [n, c]
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
// [n, 2]: max and rest, written by all but grad
@group(0) @binding(2) var<storage, read_write> statistics: array<f32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
// Binding 4 is the record of a class out of range, in bad_index.wgsl; for grad it is not bound.
@group(0) @binding(5) var<storage, read> classes: array<i32>;
// The operands of grad.
@group(0) @binding(2) var<storage, read> grad_x: array<f32>;
@group(0) @binding(3) var<storage, read> grad_classes: array<i32>;
@group(0) @binding(4) var<storage, read> grad_statistics: array<f32>;
@group(0) @binding(5) var<storage, read> g: array<f32>;

// Stores the statistics of a row and returns its loss; 0 if its class is out of range, which is recorded.
fn loss(row: u32, largest: f32, rest: f32) -> f32 {
    statistics[2u * row] = largest;
    statistics[2u * row + 1u] = rest;
    let class_ = classes[p.target_ + row];
    if (class_ < 0 || u32(class_) >= p.c) {
        record(p.caller, bitcast<u32>(class_), p.c);
        return 0.0;
    }
    return log1p_of(rest) + (largest - x[p.x + row * p.c + u32(class_)]);
}

// The loss of a row, computed by one invocation.
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
fn rows_workgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var row = group.y * groups.x + group.x; row < p.n; row += groups.x * groups.y) {
        let first = p.x + row * p.c;
        var largest = -infinity();
        for (var k = local; k < p.c; k += 256u) {
            largest = larger(largest, x[first + k]);
        }
        largest = workgroup_max(largest, local);
        var sum = vec2<f32>();
        for (var k = local; k < p.c; k += 256u) {
            sum += below_and_tie(x[first + k], largest);
        }
        sum = vec2<f32>(workgroup_sum(sum.x, local), workgroup_sum(sum.y, local));
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
    sum = workgroup_sum(sum, local);
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
                // share - 1 would cancel where the class has the largest logit.
                share = select(share - 1.0, -rest / (1.0 + rest), value == largest);
            }
            out[i] = share * scale;
        }
    }
}
