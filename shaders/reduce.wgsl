// Reductions over any dimensions, and the index of an extreme.
//
// The shape is seen as [kept, reduced], each a walk with strides of its own. Kept results lie in order.
//
// rows_TYPE: a workgroup of 256 invocations makes one result (grid x and y = results, times pieces; walks): each invocation folds
//            every 256th element, a tree joins them. For long lines, or elements that are neighbours along them.
// columns_TYPE: an invocation makes one result, neighbours next to one another in memory. For short lines.
// arg_TYPE:  the same tree over (element, index); the first extreme wins, and the first NaN over all.
//
// A long reduction of few results is cut into pieces: `out` is then [pieces, kept], and a second dispatch reduces the pieces.
// Sums of many numbers are folded by trees, in one order. Cost: every element is read once. Overwrites out.
struct ReduceParams {
    kept: Walk,
    reduced: Walk,
    // Where x's elements lie along both.
    x_kept: Operand,
    x_reduced: Operand,
    // Pieces that a line is cut into, and elements of one.
    pieces: u32,
    piece: u32,
    // What a sum is divided by, as bits of an f32; of a mean.
    divisor: u32,
    unused: u32,
}
@group(0) @binding(0) var<uniform> p: ReduceParams;
@group(0) @binding(1) var<storage, read_write> out_f32: array<f32>;
@group(0) @binding(1) var<storage, read_write> out_i32: array<i32>;
@group(0) @binding(2) var<storage, read> x_f32: array<f32>;
@group(0) @binding(2) var<storage, read> x_i32: array<i32>;

// Which fold; `code` in reduce.rs. Bool is reduced as i32: its maximum is any, its minimum all.
override OP: u32 = 0u;
const SUM: u32 = 0u;
const PRODUCT: u32 = 1u;
const MAXIMUM: u32 = 2u;

fn start_f32() -> f32 {
    switch (OP) {
        case SUM: { return 0.0; }
        case PRODUCT: { return 1.0; }
        case MAXIMUM: { return -infinity(); }
        default: { return infinity(); }
    }
}
fn fold_f32(a: f32, b: f32) -> f32 {
    switch (OP) {
        case SUM: { return a + b; }
        case PRODUCT: { return a * b; }
        // NaN if either is NaN.
        case MAXIMUM: { return select(b, a, a > b || is_nan(a)); }
        default: { return select(b, a, a < b || is_nan(a)); }
    }
}
fn start_i32() -> i32 {
    switch (OP) {
        case SUM: { return 0; }
        case PRODUCT: { return 1; }
        case MAXIMUM: { return -2147483647 - 1; }
        default: { return 2147483647; }
    }
}
fn fold_i32(a: i32, b: i32) -> i32 {
    switch (OP) {
        case SUM: { return a + b; }
        case PRODUCT: { return a * b; }
        case MAXIMUM: { return max(a, b); }
        default: { return min(a, b); }
    }
}
fn finish_f32(x: f32) -> f32 {
    return x / bitcast<f32>(p.divisor);
}
fn finish_i32(x: i32) -> i32 {
    return x;
}

var<workgroup> tree_f32: array<f32, 256>;

@compute @workgroup_size(256)
fn rows_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let results = p.kept.numel * p.pieces;
    for (var result = group.y * groups.x + group.x; result < results; result += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, result % p.kept.numel);
        let first = result / p.kept.numel * p.piece;
        let last = min(first + p.piece, p.reduced.numel);
        var folded = start_f32();
        for (var i = first + local; i < last; i += 256u) {
            folded = fold_f32(folded, x_f32[corner + place(p.reduced, p.x_reduced, i)]);
        }
        tree_f32[local] = folded;
        workgroupBarrier();
        for (var half = 128u; half > 0u; half >>= 1u) {
            if (local < half) {
                tree_f32[local] = fold_f32(tree_f32[local], tree_f32[local + half]);
            }
            workgroupBarrier();
        }
        if (local == 0u) {
            out_f32[result] = finish_f32(tree_f32[0]);
        }
        workgroupBarrier(); // before the next result's tree
    }
}

@compute @workgroup_size(256)
fn columns_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let results = p.kept.numel * p.pieces;
    for (var result = thread_index(group, groups, local); result < results; result += thread_count(groups)) {
        let corner = place(p.kept, p.x_kept, result % p.kept.numel);
        let first = result / p.kept.numel * p.piece;
        let last = min(first + p.piece, p.reduced.numel);
        // Four sums side by side: shorter chains lose fewer digits.
        var folded: array<f32, 4>;
        for (var lane = 0u; lane < 4u; lane++) {
            folded[lane] = start_f32();
        }
        for (var i = first; i < last; i++) {
            let lane = i & 3u;
            folded[lane] = fold_f32(folded[lane], x_f32[corner + place(p.reduced, p.x_reduced, i)]);
        }
        out_f32[result] = finish_f32(fold_f32(fold_f32(folded[0], folded[1]), fold_f32(folded[2], folded[3])));
    }
}

var<workgroup> places_f32: array<u32, 256>;

// Whether (a, i) goes before (b, k).
fn before_f32(a: f32, i: u32, b: f32, k: u32) -> bool {
    if (is_nan(a) || is_nan(b)) {
        return is_nan(a) && (!is_nan(b) || i < k);
    }
    if (a == b) {
        return i < k;
    }
    return select(a < b, a > b, OP == MAXIMUM);
}

@compute @workgroup_size(256)
fn arg_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var result = group.y * groups.x + group.x; result < p.kept.numel; result += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, result);
        // An invocation without an element holds one that every element precedes: it exists at a larger index.
        var best = x_f32[corner + place(p.reduced, p.x_reduced, min(local, p.reduced.numel - 1u))];
        var where_best = local;
        for (var i = local + 256u; i < p.reduced.numel; i += 256u) {
            let x = x_f32[corner + place(p.reduced, p.x_reduced, i)];
            if (before_f32(x, i, best, where_best)) {
                best = x;
                where_best = i;
            }
        }
        tree_f32[local] = best;
        places_f32[local] = where_best;
        workgroupBarrier();
        for (var half = 128u; half > 0u; half >>= 1u) {
            if (local < half && before_f32(tree_f32[local + half], places_f32[local + half], tree_f32[local], places_f32[local])) {
                tree_f32[local] = tree_f32[local + half];
                places_f32[local] = places_f32[local + half];
            }
            workgroupBarrier();
        }
        if (local == 0u) {
            out_i32[result] = i32(places_f32[0]);
        }
        workgroupBarrier();
    }
}

var<workgroup> tree_i32: array<i32, 256>;

@compute @workgroup_size(256)
fn rows_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let results = p.kept.numel * p.pieces;
    for (var result = group.y * groups.x + group.x; result < results; result += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, result % p.kept.numel);
        let first = result / p.kept.numel * p.piece;
        let last = min(first + p.piece, p.reduced.numel);
        var folded = start_i32();
        for (var i = first + local; i < last; i += 256u) {
            folded = fold_i32(folded, x_i32[corner + place(p.reduced, p.x_reduced, i)]);
        }
        tree_i32[local] = folded;
        workgroupBarrier();
        for (var half = 128u; half > 0u; half >>= 1u) {
            if (local < half) {
                tree_i32[local] = fold_i32(tree_i32[local], tree_i32[local + half]);
            }
            workgroupBarrier();
        }
        if (local == 0u) {
            out_i32[result] = finish_i32(tree_i32[0]);
        }
        workgroupBarrier(); // before the next result's tree
    }
}

@compute @workgroup_size(256)
fn columns_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let results = p.kept.numel * p.pieces;
    for (var result = thread_index(group, groups, local); result < results; result += thread_count(groups)) {
        let corner = place(p.kept, p.x_kept, result % p.kept.numel);
        let first = result / p.kept.numel * p.piece;
        let last = min(first + p.piece, p.reduced.numel);
        // Four sums side by side: shorter chains lose fewer digits.
        var folded: array<i32, 4>;
        for (var lane = 0u; lane < 4u; lane++) {
            folded[lane] = start_i32();
        }
        for (var i = first; i < last; i++) {
            let lane = i & 3u;
            folded[lane] = fold_i32(folded[lane], x_i32[corner + place(p.reduced, p.x_reduced, i)]);
        }
        out_i32[result] = finish_i32(fold_i32(fold_i32(folded[0], folded[1]), fold_i32(folded[2], folded[3])));
    }
}

var<workgroup> places_i32: array<u32, 256>;

// Whether (a, i) goes before (b, k).
fn before_i32(a: i32, i: u32, b: i32, k: u32) -> bool {
    if (a == b) {
        return i < k;
    }
    return select(a < b, a > b, OP == MAXIMUM);
}

@compute @workgroup_size(256)
fn arg_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var result = group.y * groups.x + group.x; result < p.kept.numel; result += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, result);
        // An invocation without an element holds one that every element precedes: it exists at a larger index.
        var best = x_i32[corner + place(p.reduced, p.x_reduced, min(local, p.reduced.numel - 1u))];
        var where_best = local;
        for (var i = local + 256u; i < p.reduced.numel; i += 256u) {
            let x = x_i32[corner + place(p.reduced, p.x_reduced, i)];
            if (before_i32(x, i, best, where_best)) {
                best = x;
                where_best = i;
            }
        }
        tree_i32[local] = best;
        places_i32[local] = where_best;
        workgroupBarrier();
        for (var half = 128u; half > 0u; half >>= 1u) {
            if (local < half && before_i32(tree_i32[local + half], places_i32[local + half], tree_i32[local], places_i32[local])) {
                tree_i32[local] = tree_i32[local + half];
                places_i32[local] = places_i32[local + half];
            }
            workgroupBarrier();
        }
        if (local == 0u) {
            out_i32[result] = i32(places_i32[0]);
        }
        workgroupBarrier();
    }
}
