// Running sums along one dimension of [outer, n, inner], in order: out[i] = x[0] + .. + x[i], or from the end if `reverse`.
//
// rows: a workgroup of 256 invocations per line, 256 elements a turn: sums of growing distance in workgroup memory (Hillis and
// Steele, 1986), and the sum of what came before is carried on. Grid x and y = lines, which walk. columns: an invocation per line,
// for short ones and where neighbours in memory belong to different lines. Cost: one read and one write per element. Overwrites out.
struct ScanParams {
    lines: u32,
    n: u32,
    inner: u32,
    x: u32,
    reverse: u32,
}
@group(0) @binding(0) var<uniform> p: ScanParams;
// [outer, n, inner], as bits
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

// 0 adds f32, 1 adds i32.
override OP: u32 = 0u;

fn add(a: u32, b: u32) -> u32 {
    if (OP == 0u) {
        return bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b));
    }
    return a + b;
}

// Element i of a line, in the order of the sum.
fn at(line: u32, i: u32) -> u32 {
    let k = select(i, p.n - 1u - i, p.reverse != 0u);
    return (line / p.inner * p.n + k) * p.inner + line % p.inner;
}

var<workgroup> sums: array<u32, 512>;

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var line = group.y * groups.x + group.x; line < p.lines; line += groups.x * groups.y) {
        var before = 0u;
        for (var first = 0u; first < p.n; first += 256u) {
            let i = first + local;
            var value = 0u;
            if (i < p.n) {
                value = x[p.x + at(line, i)];
            }
            // Two halves of the memory take turns as source and as target.
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
                out[at(line, i)] = add(before, sums[source + local]);
            }
            before = add(before, sums[source + 255u]);
            workgroupBarrier(); // before the next turn overwrites
        }
    }
}

@compute @workgroup_size(256)
fn columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var line = thread_index(group, groups, local); line < p.lines; line += thread_count(groups)) {
        var sum = 0u;
        for (var i = 0u; i < p.n; i++) {
            let place = at(line, i);
            sum = add(sum, x[p.x + place]);
            out[place] = sum;
        }
    }
}
