// Reading and writing at indices that another tensor holds. Elements are 32 bits, whatever they mean, or f16,
// but in sums.
//
//   gather         out[i] = x[base(i) + step index[i]]
//   add_TYPE       to[base(i) + step index[i]] += x[i]      by atomics: the order of a sum of f32 may vary; f32 may be spread
//                  over copies of the target, which the backend joins
//   place_last     to[base(i) + step index[i]] = x[i] unless a later k of the same line has the same index
//   clear          winners[base(i) + step index[i]] = 0
//   elect          winners[base(i) + step index[i]] = the largest k + 1 of those who want this place
//   settle         to[base(i) + step index[i]] = x[i] if winners says that i's k is the last
//
// i walks over the index's shape; base(i) is i's place with the indexed dimension at 0, k its entry there. Setting is one
// dispatch where lines are short (each element looks at those behind it) and three where they are long (clear, elect, settle),
// and the last of several stays on every run. An index outside 0..bound skips the access (what is read is 0) and is recorded.
// Workgroups of 256, one element per invocation and turn. Cost: the index, one read and one write per element; for long
// lines the index three times and two numbers more.
struct IndexParams {
    // The index's shape, and that of all operands.
    walk: Walk,
    // What is indexed, at entry 0 of the dimension: its stride there is 0. Read by gather, else written.
    base: Operand,
    index: Operand,
    // What is scattered.
    x: Operand,
    // k: stride 1 along the indexed dimension and 0 along the others. No data.
    number: Operand,
    // Elements between neighbours of the indexed dimension in base, and how many it has.
    step: u32,
    bound: u32,
    // Entries of a line: of the index along the dimension; and elements between them in the index.
    line: u32,
    line_step: u32,
    // `IndexedOp` in index.rs.
    op: u32,
    // For add_f32: over how many copies of the target the entries are spread, and elements between them.
    copies: u32,
    copy_step: u32,
    unused: u32,
}
@group(0) @binding(0) var<uniform> p: IndexParams;
// Gathered elements, in order; or what is scattered into, whole.
@group(0) @binding(1) var<storage, read_write> out: array<WordOut>;
@group(0) @binding(1) var<storage, read_write> sums_f32: array<atomic<u32>>;
@group(0) @binding(1) var<storage, read_write> sums_i32: array<atomic<i32>>;
@group(0) @binding(2) var<storage, read> x: array<WordIn>;
@group(0) @binding(3) var<storage, read> index: array<u32>;
@group(0) @binding(4) var<storage, read_write> bad: array<atomic<u32>, 4>;
// As many as the whole of what is scattered into has elements.
@group(0) @binding(5) var<storage, read> winners: array<u32>;
@group(0) @binding(1) var<storage, read_write> elected: array<atomic<u32>>;

// Whether an index is good; a negative one is a large number. The first bad one since the last report is recorded.
fn check(entry: u32) -> bool {
    if (entry < p.bound) {
        return true;
    }
    // "Weak" may fail although the place is free, so it is tried until somebody has it.
    loop {
        let tried = atomicCompareExchangeWeak(&bad[0], 0u, p.op);
        if (tried.exchanged) {
            atomicStore(&bad[1], entry);
            atomicStore(&bad[2], p.bound);
        }
        if (tried.exchanged || tried.old_value != 0u) {
            break;
        }
    }
    return false;
}

fn target_of(i: u32, entry: u32) -> u32 {
    return place(p.walk, p.base, i) + entry * p.step;
}

@compute @workgroup_size(256)
fn gather(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let entry = index[place(p.walk, p.index, i)];
        var v = 0u;
        if (check(entry)) {
            v = word_in(x[target_of(i, entry)]);
        }
        out[i] = word_out(v);
    }
}

@compute @workgroup_size(256)
fn add_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let entry = index[place(p.walk, p.index, i)];
        if (check(entry)) {
            let at = target_of(i, entry) + i / 64u % p.copies * p.copy_step;
            let v = bitcast<f32>(word_in(x[place(p.walk, p.x, i)]));
            var seen = atomicLoad(&sums_f32[at]);
            loop {
                let tried = atomicCompareExchangeWeak(&sums_f32[at], seen, bitcast<u32>(bitcast<f32>(seen) + v));
                if (tried.exchanged) {
                    break;
                }
                seen = tried.old_value;
            }
        }
    }
}

@compute @workgroup_size(256)
fn add_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let entry = index[place(p.walk, p.index, i)];
        if (check(entry)) {
            atomicAdd(&sums_i32[target_of(i, entry)], bitcast<i32>(word_in(x[place(p.walk, p.x, i)])));
        }
    }
}

@compute @workgroup_size(256)
fn place_last(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let at = place(p.walk, p.index, i);
        let entry = index[at];
        if (check(entry)) {
            let k = place(p.walk, p.number, i);
            var last = true;
            for (var later = k + 1u; later < p.line && last; later++) {
                last = index[at + (later - k) * p.line_step] != entry;
            }
            if (last) {
                out[target_of(i, entry)] = word_out(word_in(x[place(p.walk, p.x, i)]));
            }
        }
    }
}

@compute @workgroup_size(256)
fn clear(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let entry = index[place(p.walk, p.index, i)];
        if (entry < p.bound) {
            atomicStore(&elected[target_of(i, entry)], 0u);
        }
    }
}

@compute @workgroup_size(256)
fn elect(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let entry = index[place(p.walk, p.index, i)];
        if (check(entry)) {
            atomicMax(&elected[target_of(i, entry)], place(p.walk, p.number, i) + 1u);
        }
    }
}

@compute @workgroup_size(256)
fn settle(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.walk.numel; i += thread_count(groups)) {
        let entry = index[place(p.walk, p.index, i)];
        if (entry < p.bound) {
            let at = target_of(i, entry);
            if (winners[at] == place(p.walk, p.number, i) + 1u) {
                out[at] = word_out(word_in(x[place(p.walk, p.x, i)]));
            }
        }
    }
}
