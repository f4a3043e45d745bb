// Matrix products: out[b, i, j] = sum over k of a[b, i, k] b[b, k, j] (+ bias[j]). a [.., m, k] and b [.., k, n] have any strides.
//
//   tile_SIZE, tile_32_sliced   a tile of out per workgroup (gemm.wgsl). Grid: x and y = tiles times splits of k; z = batch, grid-stride.
//                               If k is split, out is [splits, batch, m, n]
//   sum_splits                  out[i] = sum over s of a[s, i], in order (+ bias[i mod n])
//   matrix_vector               out[i] = sum over k of a[i, k] b[k], for m = 1 or n = 1: a workgroup per row, grid-stride
//
// Cost: 2 m n k flops. Overwrites out.
struct MatmulParams {
    // The batch dimensions, and the strides of each operand's matrices along them.
    batch: Walk,
    a: Strides,
    b: Strides,
    m: u32,
    n: u32,
    k: u32,
    splits: u32,
    // The stride between rows of a, between columns of b, and along k.
    a_stride: u32,
    a_stride_k: u32,
    b_stride: u32,
    b_stride_k: u32,
    unused: u32,
    has_bias: u32,
    bias_offset: u32,
    // Results of one split: batch m n.
    split_numel: u32,
}
@group(0) @binding(0) var<uniform> p: MatmulParams;
@group(0) @binding(1) var<storage, read_write> out: array<FloatOut>;
// a and b are at bindings 2 and 3, in gemm.wgsl.
@group(0) @binding(4) var<storage, read> bias: array<FloatIn>;

// The first elements of the matrices of this batch index.
var<private> a_start: u32;
var<private> b_start: u32;

// Of an invocation's four rows or columns: the offsets at its k, the distance to the next k, and which exist.
var<private> a_at: vec4<u32>;
var<private> a_jump: u32;
var<private> a_has: vec4<bool>;
var<private> b_at: vec4<u32>;
var<private> b_jump: u32;
var<private> b_has: vec4<bool>;

fn begin_a(row: u32) {
    let rows = row + vec4(0u, 1u, 2u, 3u);
    a_has = rows < vec4(p.m);
    a_at = a_start + rows * p.a_stride;
}
fn begin_b(column: u32) {
    let columns = column + vec4(0u, 1u, 2u, 3u);
    b_has = columns < vec4(p.n);
    b_at = b_start + columns * p.b_stride;
}

fn seek_a(k: u32, step: u32) {
    a_at += k * p.a_stride_k;
    a_jump = step * p.a_stride_k;
}
fn seek_b(k: u32, step: u32) {
    b_at += k * p.b_stride_k;
    b_jump = step * p.b_stride_k;
}

fn fetch_a() -> vec4<f32> {
    let at = a_at;
    a_at += a_jump;
    return four_of_a(at, a_has);
}
fn fetch_b() -> vec4<f32> {
    let at = b_at;
    b_at += b_jump;
    return four_of_b(at, b_has);
}

@compute @workgroup_size(256)
fn tile_64(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    tile(group, groups, local, 16u, false);
}

@compute @workgroup_size(64)
fn tile_32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    tile(group, groups, local, 8u, false);
}

@compute @workgroup_size(256)
fn tile_32_sliced(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    tile(group, groups, local, 8u, true);
}

fn tile(group: vec3<u32>, groups: vec3<u32>, local: u32, quads: u32, sliced: bool) {
    let size = 4u * quads;
    let tiles_m = (p.m + size - 1u) / size;
    let tiles_n = (p.n + size - 1u) / size;
    let number = group.y * groups.x + group.x;
    if (number >= tiles_m * tiles_n * p.splits) {
        return; // all of the workgroup
    }
    let split = number % p.splits;
    let at = number / p.splits;
    let row = at % tiles_m * size;
    let column = at / tiles_m * size;
    let steps = (p.k + 15u) / 16u;
    let first = steps * split / p.splits * 16u;
    let last = min(steps * (split + 1u) / p.splits * 16u, p.k);
    for (var entry = group.z; entry < p.batch.numel; entry += groups.z) {
        a_start = offset_of(p.batch, p.a, entry);
        b_start = offset_of(p.batch, p.b, entry);
        gemm(local, quads, sliced, row, column, first, last, p.a_stride_k < p.a_stride, p.b_stride_k < p.b_stride);
        // The first slice, if sliced.
        if (local < quads * quads) {
            let y = row + local / quads * 4u;
            let x = column + local % quads * 4u;
            let to = split * p.split_numel + entry * p.m * p.n;
            store(to, y, x, sum[0]);
            store(to, y + 1u, x, sum[1]);
            store(to, y + 2u, x, sum[2]);
            store(to, y + 3u, x, sum[3]);
        }
    }
}

// Stores four results of a row.
fn store(to: u32, y: u32, x: u32, results: vec4<f32>) {
    if (y < p.m) {
        for (var i = 0u; i < min(p.n - min(x, p.n), 4u); i++) {
            var result = results[i];
            if (p.has_bias != 0u && p.splits == 1u) {
                result += float_in(bias[p.bias_offset + x + i]);
            }
            out[to + y * p.n + x + i] = float_out(result);
        }
    }
}

@compute @workgroup_size(256)
fn sum_splits(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.split_numel; i += thread_count(groups)) {
        var result = 0.0;
        var split = 0u;
        // Four independent loads.
        for (; split + 4u <= p.splits; split += 4u) {
            let at = split * p.split_numel + i;
            result += (float_in(a[at]) + float_in(a[at + p.split_numel]))
                + (float_in(a[at + 2u * p.split_numel]) + float_in(a[at + 3u * p.split_numel]));
        }
        for (; split < p.splits; split++) {
            result += float_in(a[split * p.split_numel + i]);
        }
        if (p.has_bias != 0u) {
            result += float_in(bias[p.bias_offset + i % p.n]);
        }
        out[i] = float_out(result);
    }
}

var<workgroup> partial: array<f32, 256>;

@compute @workgroup_size(256)
fn matrix_vector(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var row = group.y * groups.x + group.x; row < p.m; row += groups.x * groups.y) {
        var result = 0.0;
        for (var k = local; k < p.k; k += 256u) {
            result += float_in(a[p.a.offset + row * p.a_stride + k * p.a_stride_k]) * float_in(b[p.b.offset + k * p.b_stride_k]);
        }
        partial[local] = result;
        workgroupBarrier();
        for (var half = 128u; half > 0u; half >>= 1u) {
            if (local < half) {
                partial[local] += partial[local + half];
            }
            workgroupBarrier();
        }
        if (local == 0u) {
            result = partial[0];
            if (p.has_bias != 0u) {
                result += float_in(bias[p.bias_offset + row]);
            }
            out[row] = float_out(result);
        }
        workgroupBarrier(); // before the next row overwrites the tree
    }
}
