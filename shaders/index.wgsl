// Gather and scatter. Elements are 32 bits of any dtype, or f16 except in sums.
//
//   gather          out[i] = x[t(i)]
//   add_TYPE        out[t(i)] += x[i]   with atomics, so the order of an f32 sum may vary. f32 may be spread over copies of the target,
//                                       which the backend sums
//   set_last        out[t(i)] = x[i]    unless a later k of the same row has the same index
//   clear_writers   writers[t(i)] = 0
//   mark_writers    writers[t(i)] = max(k + 1) over all that write there
//   set_by_writer   out[t(i)] = x[i]    if writers says that k is the last
//
// i iterates over the index's shape; k is its position along the indexed dimension, and a row is all k at one position of the other
// dimensions. t(i) = base(i) + step index[i], with base(i) the offset at position 0 of the indexed dimension. Of several writes to one
// element the last k wins, deterministically: by comparison with all later k in short rows, in three dispatches in long ones. An index
// outside 0..bound skips the access (a gathered element is 0) and is recorded. Cost: the index, one read and one write per element; in long rows the index three times and two words more.
struct IndexParams {
    // The shape of the index and of all operands.
    walk: Walk,
    // The indexed tensor at position 0 of the dimension: its stride there is 0.
    base: Strides,
    index: Strides,
    // The scattered tensor.
    x: Strides,
    // Gives k: stride 1 along the indexed dimension, 0 along the others.
    number: Strides,
    // The stride and the size of the indexed dimension.
    step: u32,
    bound: u32,
    // The size and the stride of the index along the dimension.
    count: u32,
    index_step: u32,
    // The id of the `Caller`, recorded with an index out of range.
    caller: u32,
    // For add_f32: copies of the target, and the elements from one to the next.
    copies: u32,
    copy_step: u32,
    unused: u32,
}
@group(0) @binding(0) var<uniform> p: IndexParams;
// The gathered elements, contiguous; or the target of a scatter.
@group(0) @binding(1) var<storage, read_write> out: array<WordOut>;
@group(0) @binding(1) var<storage, read_write> sums_f32: array<atomic<u32>>;
@group(0) @binding(1) var<storage, read_write> sums_i32: array<atomic<i32>>;
@group(0) @binding(2) var<storage, read> x: array<WordIn>;
@group(0) @binding(3) var<storage, read> index: array<u32>;
// Binding 4 is the record of an index out of range, in bad_index.wgsl.
// One word for each element of the target.
@group(0) @binding(5) var<storage, read> writers: array<u32>;
@group(0) @binding(1) var<storage, read_write> marked: array<atomic<u32>>;

fn items() -> u32 {
    return p.walk.numel;
}
fn entry_of(i: u32) -> u32 {
    return index[offset_of(p.walk, p.index, i)];
}

// Whether an index is in range; a negative one is a large u32. One that is not is recorded.
fn check(entry: u32) -> bool {
    if (entry >= p.bound) {
        record(p.caller, entry, p.bound);
    }
    return entry < p.bound;
}

fn target_of(i: u32, entry: u32) -> u32 {
    return offset_of(p.walk, p.base, i) + entry * p.step;
}

fn gather_item(i: u32) {
    let entry = entry_of(i);
    var v = 0u;
    if (check(entry)) {
        v = word_in(x[target_of(i, entry)]);
    }
    out[i] = word_out(v);
}

fn add_f32_item(i: u32) {
    let entry = entry_of(i);
    if (check(entry)) {
        let at = target_of(i, entry) + i / 64u % p.copies * p.copy_step;
        let v = bitcast<f32>(word_in(x[offset_of(p.walk, p.x, i)]));
        var seen = atomicLoad(&sums_f32[at]);
        loop {
            let attempt = atomicCompareExchangeWeak(&sums_f32[at], seen, bitcast<u32>(bitcast<f32>(seen) + v));
            if (attempt.exchanged) {
                break;
            }
            seen = attempt.old_value;
        }
    }
}

fn add_i32_item(i: u32) {
    let entry = entry_of(i);
    if (check(entry)) {
        atomicAdd(&sums_i32[target_of(i, entry)], bitcast<i32>(word_in(x[offset_of(p.walk, p.x, i)])));
    }
}

fn set_last_item(i: u32) {
    let at = offset_of(p.walk, p.index, i);
    let entry = index[at];
    if (check(entry)) {
        let k = offset_of(p.walk, p.number, i);
        var last = true;
        for (var later = k + 1u; later < p.count && last; later++) {
            last = index[at + (later - k) * p.index_step] != entry;
        }
        if (last) {
            out[target_of(i, entry)] = word_out(word_in(x[offset_of(p.walk, p.x, i)]));
        }
    }
}

fn clear_writers_item(i: u32) {
    let entry = entry_of(i);
    if (entry < p.bound) {
        atomicStore(&marked[target_of(i, entry)], 0u);
    }
}

fn mark_writers_item(i: u32) {
    let entry = entry_of(i);
    if (check(entry)) {
        atomicMax(&marked[target_of(i, entry)], offset_of(p.walk, p.number, i) + 1u);
    }
}

fn set_by_writer_item(i: u32) {
    let entry = entry_of(i);
    if (entry < p.bound) {
        let at = target_of(i, entry);
        if (writers[at] == offset_of(p.walk, p.number, i) + 1u) {
            out[at] = word_out(word_in(x[offset_of(p.walk, p.x, i)]));
        }
    }
}
