// Cumulative sums along one dimension of a contiguous [outer, n, inner]: out[i] = x[0] + .. + x[i], or from the end if `reverse`. A row
// is the n elements of one (outer, inner) pair.
//
//   rows      a workgroup of 256 invocations per row, 256 elements per iteration: a Hillis-Steele scan (1986) in workgroup memory, plus the
//             sum of the elements before. Grid: x and y = rows, grid-stride
//   columns   an invocation per row, for short rows and where neighbouring elements belong to different rows
//
// Cost: one read and one write per element. Overwrites out.
struct ScanParams {
    rows: u32,
    n: u32,
    inner: u32,
    // The first element of x.
    x: u32,
    reverse: u32,
}
@group(0) @binding(0) var<uniform> p: ScanParams;
// Elements as their bits.
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

// 0: f32. 1: i32.
override OP: u32 = 0u;

fn add(a: u32, b: u32) -> u32 {
    if (OP == 0u) {
        return bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b));
    }
    return a + b;
}

// The offset of the i-th summand of a row.
fn at(row: u32, i: u32) -> u32 {
    let k = select(i, p.n - 1u - i, p.reverse != 0u);
    return (row / p.inner * p.n + k) * p.inner + row % p.inner;
}

var<workgroup> sums: array<u32, 512>;

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var row = group.y * groups.x + group.x; row < p.rows; row += groups.x * groups.y) {
        var before = 0u;
        for (var first = 0u; first < p.n; first += 256u) {
            let i = first + local;
            var value = 0u;
            if (i < p.n) {
                value = x[p.x + at(row, i)];
            }
            // The two halves of `sums` alternate as source and target.
            var source = 0u;
            sums[local] = value;
            workgroupBarrier();
            for (var distance = 1u; distance < 256u; distance <<= 1u) {
                var sum = sums[source + local];
                if (local >= distance) {
                    sum = add(sums[source + local - distance], sum);
                }
                source = 256u - source;
                sums[source + local] = sum;
                workgroupBarrier();
            }
            if (i < p.n) {
                out[at(row, i)] = add(before, sums[source + local]);
            }
            before = add(before, sums[source + 255u]);
            workgroupBarrier(); // before the next iteration overwrites the sums
        }
    }
}

@compute @workgroup_size(256)
fn columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var row = thread_index(group, groups, local); row < p.rows; row += thread_count(groups)) {
        var sum = 0u;
        for (var i = 0u; i < p.n; i++) {
            let offset = at(row, i);
            sum = add(sum, x[p.x + offset]);
            out[offset] = sum;
        }
    }
}
