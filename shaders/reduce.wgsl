// Reductions over any dimensions, and the index of an extreme. Elements are handled as their bits; see fold.wgsl.
//
// The shape is seen as [kept, reduced], each a walk with strides of its own. Results lie in the order of `kept`.
//
// rows:    a workgroup of 256 invocations makes one result: each folds every 256th element, a join makes one of them. For long
//          lines whose elements are neighbours. Grid x and y = results times pieces, which walk.
// rows_4:  the same, four neighbours at a time: the innermost reduced dimension has stride 1, and its size, the other strides, the
//          offset and the pieces are multiples of 4.
// tiles:   a workgroup makes 32 neighbouring results: 8 invocations each fold every 8th element. For long lines of which those of
//          neighbouring results lie side by side in memory. Grid x and y = results / 32, rounded up, times pieces.
// columns: an invocation makes one result. For short lines. Grid x and y = results times pieces / 256.
// arg_rows, arg_columns: the index of the first extreme, and of the first NaN over all, in the same two ways.
//
// A long reduction of few results is cut into pieces: `out` is then [pieces, kept], and a second dispatch reduces the pieces.
// Cost: every element is read once. Overwrites out.
struct ReduceParams {
    kept: Walk,
    reduced: Walk,
    // Where x's elements lie along both.
    x_kept: Operand,
    x_reduced: Operand,
    // Pieces that a line is cut into, and elements of one.
    pieces: u32,
    piece: u32,
    // What a sum of f32 is divided by.
    divisor: f32,
    unused: u32,
}
@group(0) @binding(0) var<uniform> p: ReduceParams;
// [pieces, kept]
@group(0) @binding(1) var<storage, read_write> out: array<WordOut>;
// [kept, reduced], strided
@group(0) @binding(2) var<storage, read> x: array<WordIn>;
@group(0) @binding(2) var<storage, read> quads: array<vec4<WordIn>>;

// One of fold.wgsl's. Bool is reduced as i32: its maximum is any, its minimum all.
override OP: u32 = 0u;

fn element(corner: u32, i: u32) -> u32 {
    return enter(OP, word_in(x[corner + place(p.reduced, p.x_reduced, i)]));
}

// What was folded and four elements that are `step` apart, in order: their loads do not wait for one another.
fn fold_4(folded: u32, corner: u32, i: u32, step: u32) -> u32 {
    let one = element(corner, i);
    let two = element(corner, i + step);
    let three = element(corner, i + 2u * step);
    let four = element(corner, i + 3u * step);
    return fold(OP, fold(OP, fold(OP, fold(OP, folded, one), two), three), four);
}

fn finish(folded: u32) -> u32 {
    if (OP == SUM_F32) {
        return bitcast<u32>(bitcast<f32>(folded) / p.divisor);
    }
    return leave(OP, folded);
}

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let results = p.kept.numel * p.pieces;
    for (var result = group.y * groups.x + group.x; result < results; result += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, result % p.kept.numel);
        let first = result / p.kept.numel * p.piece;
        let last = min(first + p.piece, p.reduced.numel);
        var folded = start(OP);
        var i = first + local;
        for (; i + 768u < last; i += 1024u) {
            folded = fold_4(folded, corner, i, 256u);
        }
        for (; i < last; i += 256u) {
            folded = fold(OP, folded, element(corner, i));
        }
        folded = join(OP, folded, local);
        if (local == 0u) {
            out[result] = word_out(finish(folded));
        }
    }
}

@compute @workgroup_size(256)
fn rows_4(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let results = p.kept.numel * p.pieces;
    for (var result = group.y * groups.x + group.x; result < results; result += groups.x * groups.y) {
        let corner = place(p.kept, p.x_kept, result % p.kept.numel);
        let first = result / p.kept.numel * p.piece;
        let last = min(first + p.piece, p.reduced.numel);
        var folded = start(OP);
        for (var i = first + 4u * local; i < last; i += 1024u) {
            let four = quads[(corner + place(p.reduced, p.x_reduced, i)) / 4u];
            let one = fold(OP, enter(OP, word_in(four.x)), enter(OP, word_in(four.y)));
            let two = fold(OP, enter(OP, word_in(four.z)), enter(OP, word_in(four.w)));
            folded = fold(OP, folded, fold(OP, one, two));
        }
        folded = join(OP, folded, local);
        if (local == 0u) {
            out[result] = word_out(finish(folded));
        }
    }
}

@compute @workgroup_size(256)
fn tiles(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let across = (p.kept.numel + 31u) / 32u;
    for (var tile = group.y * groups.x + group.x; tile < across * p.pieces; tile += groups.x * groups.y) {
        let kept = tile % across * 32u + local % 32u;
        let piece = tile / across;
        let last = min((piece + 1u) * p.piece, p.reduced.numel);
        var folded = start(OP);
        if (kept < p.kept.numel) {
            let corner = place(p.kept, p.x_kept, kept);
            var i = piece * p.piece + local / 32u;
            for (; i + 24u < last; i += 32u) {
                folded = fold_4(folded, corner, i, 8u);
            }
            for (; i < last; i += 8u) {
                folded = fold(OP, folded, element(corner, i));
            }
        }
        tree[local] = folded;
        workgroupBarrier();
        if (local < 32u && kept < p.kept.numel) {
            for (var slice = 1u; slice < 8u; slice++) {
                folded = fold(OP, folded, tree[slice * 32u + local]);
            }
            out[piece * p.kept.numel + kept] = word_out(finish(folded));
        }
        workgroupBarrier(); // before the next tile
    }
}

@compute @workgroup_size(256)
fn columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let results = p.kept.numel * p.pieces;
    for (var result = thread_index(group, groups, local); result < results; result += thread_count(groups)) {
        let corner = place(p.kept, p.x_kept, result % p.kept.numel);
        let first = result / p.kept.numel * p.piece;
        let last = min(first + p.piece, p.reduced.numel);
        var folded = start(OP);
        for (var i = first; i < last; i++) {
            folded = fold(OP, folded, element(corner, i));
        }
        out[result] = word_out(finish(folded));
    }
}

// The best of some elements: its key, and where it is.
struct Best {
    key: u32,
    at: u32,
}

// Of every `step`-th element from `first` on. Without any it counts as one behind the end.
fn best_of(corner: u32, first: u32, step: u32) -> Best {
    var best = Best(0u, 0xffffffffu);
    for (var i = first; i < p.reduced.numel; i += step) {
        let bits = word_in(x[corner + place(p.reduced, p.x_reduced, i)]);
        // -0 is as large as 0.
        let negative_zero = bits == 0x80000000u && (OP == MAX_F32 || OP == MIN_F32);
        let key = enter(OP, select(bits, 0u, negative_zero));
        if (key > best.key || best.at == 0xffffffffu) {
            best = Best(key, i);
        }
    }
    return best;
}

@compute @workgroup_size(256)
fn arg_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var result = group.y * groups.x + group.x; result < p.kept.numel; result += groups.x * groups.y) {
        let best = best_of(place(p.kept, p.x_kept, result), local, 256u);
        let all = join(OP, best.key, local);
        // The first place is the largest complement.
        let first = join(MAX_I32, select(0u, ~best.at, best.key == all), local);
        if (local == 0u) {
            out[result] = word_out(~first);
        }
    }
}

@compute @workgroup_size(256)
fn arg_columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var result = thread_index(group, groups, local); result < p.kept.numel; result += thread_count(groups)) {
        out[result] = word_out(best_of(place(p.kept, p.x_kept, result), 0u, 1u).at);
    }
}
