// Reductions over any dimensions, and arg-reductions. Elements are handled as their bits; see fold.wgsl.
//
// The shape is divided into the kept and the reduced dimensions, each with strides of its own. Results are row-major over the
// kept ones.
//
//   rows                    a workgroup of 256 invocations per result: each folds every 256th element, then the workgroup reduces.
//                           For many elements that are close in memory. Grid: x and y = results times chunks, grid-stride
//   rows_vec4               the same, with vec4 loads: the innermost reduced dimension has stride 1, and its size, the other
//                           strides, the offset and the chunks are multiples of 4
//   tiles                   a workgroup per 32 consecutive results: 8 invocations for each fold every 8th element. For many
//                           elements where consecutive results are close in memory. Grid: x and y = results / 32, rounded up,
//                           times chunks
//   columns                 an invocation per result, for few elements. Grid: x and y = results times chunks / 256
//   arg_rows, arg_columns   the index of the first extreme, or of the first NaN, as rows and columns
//
// A long reduction to few results is cut into chunks: out is then [chunks, kept], and a second dispatch reduces the chunks.
// Cost: one read per element. Overwrites out.
struct ReduceParams {
    kept: Walk,
    reduced: Walk,
    // x's strides along both.
    x_kept: Strides,
    x_reduced: Strides,
    // Chunks of a reduction, and elements of one.
    chunks: u32,
    chunk: u32,
    // A sum of f32 is divided by this.
    divisor: f32,
    unused: u32,
}
@group(0) @binding(0) var<uniform> p: ReduceParams;
// [chunks, kept]
@group(0) @binding(1) var<storage, read_write> out: array<WordOut>;
// [kept, reduced], strided
@group(0) @binding(2) var<storage, read> x: array<WordIn>;
@group(0) @binding(2) var<storage, read> x_vec4: array<vec4<WordIn>>;

// The operator: see fold.wgsl. Bool is reduced as i32: its maximum is any, its minimum all.
override OP: u32 = 0u;

fn element(base: u32, i: u32) -> u32 {
    return encode(OP, word_in(x[base + offset_of(p.reduced, p.x_reduced, i)]));
}

// Folds four elements that are `step` apart, in order; their loads are independent.
fn fold_4(folded: u32, base: u32, i: u32, step: u32) -> u32 {
    let one = element(base, i);
    let two = element(base, i + step);
    let three = element(base, i + 2u * step);
    let four = element(base, i + 3u * step);
    return fold(OP, fold(OP, fold(OP, fold(OP, folded, one), two), three), four);
}

fn finish(folded: u32) -> u32 {
    if (OP == SUM_F32) {
        return bitcast<u32>(bitcast<f32>(folded) / p.divisor);
    }
    return decode(OP, folded);
}

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let results = p.kept.numel * p.chunks;
    for (var result = group.y * groups.x + group.x; result < results; result += groups.x * groups.y) {
        let base = offset_of(p.kept, p.x_kept, result % p.kept.numel);
        let first = result / p.kept.numel * p.chunk;
        let last = min(first + p.chunk, p.reduced.numel);
        var folded = identity(OP);
        var i = first + local;
        for (; i + 768u < last; i += 1024u) {
            folded = fold_4(folded, base, i, 256u);
        }
        for (; i < last; i += 256u) {
            folded = fold(OP, folded, element(base, i));
        }
        folded = reduce_workgroup(OP, folded, local);
        if (local == 0u) {
            out[result] = word_out(finish(folded));
        }
    }
}

@compute @workgroup_size(256)
fn rows_vec4(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let results = p.kept.numel * p.chunks;
    for (var result = group.y * groups.x + group.x; result < results; result += groups.x * groups.y) {
        let base = offset_of(p.kept, p.x_kept, result % p.kept.numel);
        let first = result / p.kept.numel * p.chunk;
        let last = min(first + p.chunk, p.reduced.numel);
        var folded = identity(OP);
        for (var i = first + 4u * local; i < last; i += 1024u) {
            let four = x_vec4[(base + offset_of(p.reduced, p.x_reduced, i)) / 4u];
            let one = fold(OP, encode(OP, word_in(four.x)), encode(OP, word_in(four.y)));
            let two = fold(OP, encode(OP, word_in(four.z)), encode(OP, word_in(four.w)));
            folded = fold(OP, folded, fold(OP, one, two));
        }
        folded = reduce_workgroup(OP, folded, local);
        if (local == 0u) {
            out[result] = word_out(finish(folded));
        }
    }
}

@compute @workgroup_size(256)
fn tiles(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let across = (p.kept.numel + 31u) / 32u;
    for (var tile = group.y * groups.x + group.x; tile < across * p.chunks; tile += groups.x * groups.y) {
        let kept = tile % across * 32u + local % 32u;
        let chunk = tile / across;
        let last = min((chunk + 1u) * p.chunk, p.reduced.numel);
        var folded = identity(OP);
        if (kept < p.kept.numel) {
            let base = offset_of(p.kept, p.x_kept, kept);
            var i = chunk * p.chunk + local / 32u;
            for (; i + 24u < last; i += 32u) {
                folded = fold_4(folded, base, i, 8u);
            }
            for (; i < last; i += 8u) {
                folded = fold(OP, folded, element(base, i));
            }
        }
        tree[local] = folded;
        workgroupBarrier();
        if (local < 32u && kept < p.kept.numel) {
            for (var slice = 1u; slice < 8u; slice++) {
                folded = fold(OP, folded, tree[slice * 32u + local]);
            }
            out[chunk * p.kept.numel + kept] = word_out(finish(folded));
        }
        workgroupBarrier(); // before the next tile
    }
}

@compute @workgroup_size(256)
fn columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let results = p.kept.numel * p.chunks;
    for (var result = thread_index(group, groups, local); result < results; result += thread_count(groups)) {
        let base = offset_of(p.kept, p.x_kept, result % p.kept.numel);
        let first = result / p.kept.numel * p.chunk;
        let last = min(first + p.chunk, p.reduced.numel);
        var folded = identity(OP);
        for (var i = first; i < last; i++) {
            folded = fold(OP, folded, element(base, i));
        }
        out[result] = word_out(finish(folded));
    }
}

// An extreme: its key and its index.
struct Best {
    key: u32,
    at: u32,
}

// The extreme of every `step`-th element from `first` on; of none, an index beyond all.
fn best_of(base: u32, first: u32, step: u32) -> Best {
    var best = Best(0u, 0xffffffffu);
    for (var i = first; i < p.reduced.numel; i += step) {
        let bits = word_in(x[base + offset_of(p.reduced, p.x_reduced, i)]);
        // -0 equals 0.
        let negative_zero = bits == 0x80000000u && (OP == MAX_F32 || OP == MIN_F32);
        let key = encode(OP, select(bits, 0u, negative_zero));
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
        let best = best_of(offset_of(p.kept, p.x_kept, result), local, 256u);
        let all = reduce_workgroup(OP, best.key, local);
        // The smallest index has the largest complement.
        let first = reduce_workgroup(MAX_I32, select(0u, ~best.at, best.key == all), local);
        if (local == 0u) {
            out[result] = word_out(~first);
        }
    }
}

@compute @workgroup_size(256)
fn arg_columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var result = thread_index(group, groups, local); result < p.kept.numel; result += thread_count(groups)) {
        out[result] = word_out(best_of(offset_of(p.kept, p.x_kept, result), 0u, 1u).at);
    }
}
