// The order of elements along a dimension: stable, by keys of 32 bits that compare as the elements do, with NaN above all and both zeros
// equal; complemented for a descending order.
//
//   sort_rows    out = the order of rows of at most CAPACITY elements
//   sort_runs    runs[row][i] = (key, number): each run of CAPACITY elements of a row is sorted
//   merge_runs   runs = each pair of neighbouring runs of `run` elements in `merging`, merged
//   merge_last   the same for the last pair of each row, with the order stored in out
//
// x is a contiguous [outer, n, inner], out [outer, k, inner] of i32; a row is one (outer, inner) pair; runs and merging are [rows, n].
// Workgroup memory is sorted bitonically, in segments of a power of two, where the first step of each merge compares mirrored pairs, so
// that all pairs are ordered alike; a workgroup sorts several short rows. A merge finds each element's rank in the other run by
// binary search, independently of all others. Workgroups of 256. Cost: each element is read and written once, and
// log²(segment) / 2 times in workgroup memory; in longer rows once more for each doubling, with a binary search.
struct SortParams {
    rows: u32,
    n: u32,
    inner: u32,
    k: u32,
    // The first element of x.
    offset: u32,
    descending: u32,
    // Elements of a segment, a power of two, at most CAPACITY; and segments of a workgroup.
    segment: u32,
    segments: u32,
    // Segments of a row.
    row_segments: u32,
    // Elements of the runs to merge.
    run: u32,
}
@group(0) @binding(0) var<uniform> p: SortParams;
@group(0) @binding(1) var<storage, read_write> out: array<i32>;
@group(0) @binding(1) var<storage, read_write> runs: array<vec2<u32>>;
// Elements as their bits.
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> merging: array<vec2<u32>>;

// 0: f32. 1: i32.
override OP: u32 = 0u;

const CAPACITY: u32 = 2048u;
var<workgroup> keys: array<u32, CAPACITY>;
var<workgroup> numbers: array<u32, CAPACITY>;

fn key_of(bits: u32) -> u32 {
    var key = bits ^ 0x80000000u;
    if (OP == 0u) {
        key = select(bits | 0x80000000u, ~bits, (bits >> 31u) != 0u);
        if (bits == 0x80000000u) {
            key = 0x80000000u;
        }
        if (is_nan(bitcast<f32>(bits))) {
            key = 0xffffffffu;
        }
    }
    return select(key, ~key, p.descending != 0u);
}

// The offset of element i of a row, in rows of n elements.
fn offset_in(row: u32, n: u32, i: u32) -> u32 {
    let outer = row / p.inner;
    return (outer * n + i) * p.inner + (row - outer * p.inner);
}

// The element in slot `at` of a workgroup: its row and number. Slots beyond the end of a row have numbers from n on.
struct Slot {
    row: u32,
    number: u32,
}
fn slot_of(workgroup: u32, at: u32) -> Slot {
    let within = at / p.segment;
    let segment = workgroup * p.segments + within;
    let row = segment / p.row_segments;
    return Slot(row, (segment - row * p.row_segments) * p.segment + (at - within * p.segment));
}
fn exists(slot: Slot) -> bool {
    return slot.row < p.rows && slot.number < p.n;
}

// Orders a pair by (key, number). Numbers differ, so no two are equal; slots beyond the end of a row have the largest key and larger
// numbers, and stay behind its elements.
fn order(low: u32, high: u32) {
    let a = vec2(keys[low], numbers[low]);
    let b = vec2(keys[high], numbers[high]);
    if (a.x > b.x || (a.x == b.x && a.y > b.y)) {
        keys[low] = b.x;
        numbers[low] = b.y;
        keys[high] = a.x;
        numbers[high] = a.y;
    }
}

// Sorts the segments. All invocations call it after filling their slots.
fn sort_segments(local: u32) {
    let pairs = p.segment * p.segments / 2u;
    workgroupBarrier();
    for (var size = 2u; size <= p.segment; size *= 2u) {
        let half = size / 2u;
        for (var t = local; t < pairs; t += THREADS) {
            let begin = t / half * size;
            let within = t % half;
            order(begin + within, begin + size - 1u - within);
        }
        workgroupBarrier();
        for (var apart = half / 2u; apart > 0u; apart /= 2u) {
            for (var t = local; t < pairs; t += THREADS) {
                let low = t / apart * 2u * apart + t % apart;
                order(low, low + apart);
            }
            workgroupBarrier();
        }
    }
}

fn fill(workgroup: u32, local: u32) {
    for (var at = local; at < p.segment * p.segments; at += THREADS) {
        let slot = slot_of(workgroup, at);
        var key = 0xffffffffu;
        if (exists(slot)) {
            key = key_of(x[p.offset + offset_in(slot.row, p.n, slot.number)]);
        }
        keys[at] = key;
        numbers[at] = slot.number;
    }
}

fn put_rows(workgroup: u32, local: u32) {
    for (var at = local; at < p.segment * p.segments; at += THREADS) {
        let slot = slot_of(workgroup, at);
        if (exists(slot) && slot.number < p.k) {
            out[offset_in(slot.row, p.k, slot.number)] = i32(numbers[at]);
        }
    }
}
fn put_runs(workgroup: u32, local: u32) {
    for (var at = local; at < p.segment * p.segments; at += THREADS) {
        let slot = slot_of(workgroup, at);
        if (exists(slot)) {
            runs[slot.row * p.n + slot.number] = vec2(keys[at], numbers[at]);
        }
    }
}

@compute @workgroup_size(256)
fn sort_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let workgroup = group.y * groups.x + group.x;
    fill(workgroup, local);
    sort_segments(local);
    put_rows(workgroup, local);
}

@compute @workgroup_size(256)
fn sort_runs(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let workgroup = group.y * groups.x + group.x;
    fill(workgroup, local);
    sort_segments(local);
    put_runs(workgroup, local);
}

// The elements to merge.
fn items() -> u32 {
    return p.rows * p.n;
}

// The position of element i of a row in the merge of its run with the neighbour: its position in its own run plus the number of elements
// of the other that precede it. Equal keys of the first run precede those of the second.
fn merged_position(row: u32, i: u32, key: u32) -> u32 {
    let pair = i / (2u * p.run) * (2u * p.run);
    let middle = min(pair + p.run, p.n);
    let second = i >= middle;
    let begin = select(middle, pair, second);
    var low = begin;
    var high = select(min(middle + p.run, p.n), middle, second);
    while (low < high) {
        let probe = (low + high) / 2u;
        let other = merging[row * p.n + probe].x;
        if (other < key || (second && other == key)) {
            low = probe + 1u;
        } else {
            high = probe;
        }
    }
    return select(i, i - p.run, second) + low - begin;
}

fn merge_runs_item(at: u32) {
    let row = at / p.n;
    let own = merging[at];
    runs[row * p.n + merged_position(row, at - row * p.n, own.x)] = own;
}

fn merge_last_item(at: u32) {
    let row = at / p.n;
    let own = merging[at];
    let i = merged_position(row, at - row * p.n, own.x);
    if (i < p.k) {
        out[offset_in(row, p.k, i)] = i32(own.y);
    }
}
