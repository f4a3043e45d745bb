// Running sums along one dimension of [outer, n, inner], in order: out[i] = x[0] + .. + x[i], or from the end if `reverse`.
//
// rows_TYPE: a workgroup of 256 invocations per line, 256 elements a turn: sums of growing distance in workgroup memory (Hillis and
// Steele, 1986), and the sum of what came before is carried on. Grid x and y = lines, which walk. columns_TYPE: an invocation per line,
// for short ones and where neighbours in memory belong to different lines. Cost: one read and one write per element. Overwrites out.
struct ScanParams {
    lines: u32,
    n: u32,
    inner: u32,
    x: u32,
    reverse: u32,
}
@group(0) @binding(0) var<uniform> p: ScanParams;
@group(0) @binding(1) var<storage, read_write> out_f32: array<f32>;
@group(0) @binding(1) var<storage, read_write> out_i32: array<i32>;
@group(0) @binding(2) var<storage, read> x_f32: array<f32>;
@group(0) @binding(2) var<storage, read> x_i32: array<i32>;

// Element i of a line, in the order of the sum.
fn at(line: u32, i: u32) -> u32 {
    let k = select(i, p.n - 1u - i, p.reverse != 0u);
    return (line / p.inner * p.n + k) * p.inner + line % p.inner;
}

var<workgroup> sums_f32: array<f32, 512>;

@compute @workgroup_size(256)
fn rows_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var line = group.y * groups.x + group.x; line < p.lines; line += groups.x * groups.y) {
        var before = 0.0;
        for (var first = 0u; first < p.n; first += 256u) {
            let i = first + local;
            var value = 0.0;
            if (i < p.n) {
                value = x_f32[p.x + at(line, i)];
            }
            // Two halves of the memory take turns as source and as target.
            var from_half = 0u;
            sums_f32[local] = value;
            workgroupBarrier();
            for (var distance = 1u; distance < 256u; distance <<= 1u) {
                var sum = sums_f32[from_half + local];
                if (local >= distance) {
                    sum += sums_f32[from_half + local - distance];
                }
                from_half = 256u - from_half;
                sums_f32[from_half + local] = sum;
                workgroupBarrier();
            }
            if (i < p.n) {
                out_f32[at(line, i)] = before + sums_f32[from_half + local];
            }
            before += sums_f32[from_half + 255u];
            workgroupBarrier(); // before the next turn overwrites
        }
    }
}

@compute @workgroup_size(256)
fn columns_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var line = thread_index(group, groups, local); line < p.lines; line += thread_count(groups)) {
        var sum = 0.0;
        for (var i = 0u; i < p.n; i++) {
            let place = at(line, i);
            sum += x_f32[p.x + place];
            out_f32[place] = sum;
        }
    }
}

var<workgroup> sums_i32: array<i32, 512>;

@compute @workgroup_size(256)
fn rows_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var line = group.y * groups.x + group.x; line < p.lines; line += groups.x * groups.y) {
        var before = 0;
        for (var first = 0u; first < p.n; first += 256u) {
            let i = first + local;
            var value = 0;
            if (i < p.n) {
                value = x_i32[p.x + at(line, i)];
            }
            // Two halves of the memory take turns as source and as target.
            var from_half = 0u;
            sums_i32[local] = value;
            workgroupBarrier();
            for (var distance = 1u; distance < 256u; distance <<= 1u) {
                var sum = sums_i32[from_half + local];
                if (local >= distance) {
                    sum += sums_i32[from_half + local - distance];
                }
                from_half = 256u - from_half;
                sums_i32[from_half + local] = sum;
                workgroupBarrier();
            }
            if (i < p.n) {
                out_i32[at(line, i)] = before + sums_i32[from_half + local];
            }
            before += sums_i32[from_half + 255u];
            workgroupBarrier(); // before the next turn overwrites
        }
    }
}

@compute @workgroup_size(256)
fn columns_i32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var line = thread_index(group, groups, local); line < p.lines; line += thread_count(groups)) {
        var sum = 0;
        for (var i = 0u; i < p.n; i++) {
            let place = at(line, i);
            sum += x_i32[p.x + place];
            out_i32[place] = sum;
        }
    }
}
