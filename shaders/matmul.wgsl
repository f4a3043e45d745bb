// Matrix products: out[b, i, j] = sum over k of a[b, i, k] b[b, k, j] (+ bias[j]). a [.., m, k], b [.., k, n]: any strides.
//
// tile: a tile of out per workgroup (gemm.wgsl). Grid: x and y = tiles, times splits of k; z = batch, which walks. If k is split,
// `out` is parts [splits, batch, m, n], and `join` adds them in order: out[i] = sum over s of parts[s, i] (+ bias[i mod n]).
// vector: for m = 1 or n = 1: out[line] = sum over k of a[line, k] b[k], a workgroup per line, which walks.
// Cost: 2 m n k flops. All overwrite.
struct MatmulParams {
    // Batch dimensions and where each operand's matrices begin.
    batch: Walk,
    a: Operand,
    b: Operand,
    m: u32,
    n: u32,
    k: u32,
    splits: u32,
    a_line: u32,
    a_k: u32,
    b_line: u32,
    b_k: u32,
    // 64 or 32.
    tile: u32,
    has_bias: u32,
    bias_offset: u32,
    // Results of one split: batch m n.
    part: u32,
}
@group(0) @binding(0) var<uniform> p: MatmulParams;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

// Where the matrices of this batch entry begin.
var<private> a_start: u32;
var<private> b_start: u32;

fn load_a(line: u32, k: u32) -> f32 {
    return a[a_start + line * p.a_line + k * p.a_k];
}
fn load_b(line: u32, k: u32) -> f32 {
    return b[b_start + line * p.b_line + k * p.b_k];
}

@compute @workgroup_size(256)
fn tile(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let tiles_m = (p.m + p.tile - 1u) / p.tile;
    let tiles_n = (p.n + p.tile - 1u) / p.tile;
    let number = group.y * groups.x + group.x;
    if (number >= tiles_m * tiles_n * p.splits) {
        return; // all of the workgroup
    }
    let split = number % p.splits;
    let at = number / p.splits;
    let row = at % tiles_m * p.tile;
    let column = at / tiles_m * p.tile;
    let steps = (p.k + BK - 1u) / BK;
    let first = steps * split / p.splits * BK;
    let last = min(steps * (split + 1u) / p.splits * BK, p.k);
    let per = p.tile / 16u;
    for (var entry = group.z; entry < p.batch.numel; entry += groups.z) {
        a_start = place(p.batch, p.a, entry);
        b_start = place(p.batch, p.b, entry);
        gemm(local, p.tile, row, column, p.m, p.n, first, last, p.a_k < p.a_line, p.b_k < p.b_line);
        for (var i = 0u; i < per; i++) {
            let y = row + local / 16u * per + i;
            for (var j = 0u; j < per; j++) {
                let x = column + local % 16u * per + j;
                if (y < p.m && x < p.n) {
                    var result = sum[4u * i + j];
                    if (p.has_bias != 0u && p.splits == 1u) {
                        result += bias[p.bias_offset + x];
                    }
                    out[split * p.part + (entry * p.m + y) * p.n + x] = result;
                }
            }
        }
    }
}

// a = parts.
@compute @workgroup_size(256)
fn join(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.part; i += thread_count(groups)) {
        var result = a[i];
        for (var split = 1u; split < p.splits; split++) {
            result += a[split * p.part + i];
        }
        if (p.has_bias != 0u) {
            result += bias[p.bias_offset + i % p.n];
        }
        out[i] = result;
    }
}

var<workgroup> parts: array<f32, 256>;

// m lines of a times the one line of b.
@compute @workgroup_size(256)
fn vector(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var line = group.y * groups.x + group.x; line < p.m; line += groups.x * groups.y) {
        var result = 0.0;
        for (var k = local; k < p.k; k += 256u) {
            result += a[p.a.offset + line * p.a_line + k * p.a_k] * b[p.b.offset + k * p.b_k];
        }
        parts[local] = result;
        workgroupBarrier();
        for (var half = 128u; half > 0u; half >>= 1u) {
            if (local < half) {
                parts[local] += parts[local + half];
            }
            workgroupBarrier();
        }
        if (local == 0u) {
            result = parts[0];
            if (p.has_bias != 0u) {
                result += bias[p.bias_offset + line];
            }
            out[line] = result;
        }
        workgroupBarrier(); // before the next line
    }
}
