// Pooling of planes [h, w] and its gradients; x and its gradient are [planes, h, w], y, its gradient g and index are
// [planes, oh, ow], in order.
//
//   max   y[i][j] = max over (a, b) of x[i sy + a dy - py][j sx + b dx - px], index[i][j] = row w + column of it
//   avg   y[i][j] = sum over (a, b) of the same / count
//
//   max_pool        only cells of the plane take part; the first of equals wins, and the first NaN over everything
//   max_pool_grad   gx[row][column] = sum of g over the windows whose index it is
//   avg_pool        count is kh kw, or the window's cells within the plane
//   avg_pool_wide   the same for large windows: a workgroup per window; grid x and y = windows, which walk
//   avg_pool_grad   gx[row][column] = sum of g / count over the windows that cover it; no dilation, as core admits none
//
// A gradient gathers: each cell asks the windows that may cover it, rows first, so that sums have one order and nothing is set
// to 0 before. Workgroups of 256, an output per invocation and turn. Cost: one read and one write per element; overlapping
// windows find their cells in the cache.

// Pairs are of rows and columns.
struct PoolParams {
    kernel: vec2<i32>,
    padding: vec2<i32>,
    dilation: vec2<i32>,
    stride: vec2<i32>,
    // Of x, and of y.
    size: vec2<i32>,
    out_size: vec2<i32>,
    // Elements of what is written.
    items: u32,
    // The first element of what is read: x, or y's gradient.
    offset: u32,
    index_offset: u32,
    // Whether a mean counts the padding.
    include_pad: u32,
}
@group(0) @binding(0) var<uniform> p: PoolParams;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> index_out: array<i32>;
@group(0) @binding(3) var<storage, read> index: array<i32>;

// The sum of many terms: some at a time, and of those sums what rounding loses is kept (Neumaier, 1974).
struct LongSum {
    part: f32,
    whole: f32,
    lost: f32,
    count: u32,
}
fn added(sum: LongSum, term: f32) -> LongSum {
    let part = sum.part + term;
    if ((sum.count + 1u) % 32u != 0u) {
        return LongSum(part, sum.whole, sum.lost, sum.count + 1u);
    }
    let whole = sum.whole + part;
    let lost = select((part - whole) + sum.whole, (sum.whole - whole) + part, abs(sum.whole) >= abs(part));
    return LongSum(0.0, whole, sum.lost + lost, sum.count + 1u);
}
fn value_of(sum: LongSum) -> f32 {
    let whole = sum.whole + sum.part;
    // Of an infinite sum what was lost is no number.
    return select(whole + sum.lost, whole, (bitcast<u32>(whole) & 0x7fffffffu) >= 0x7f800000u);
}

// Where item i lies among planes of this size: the plane, the row and the column.
struct Cell {
    plane: u32,
    at: vec2<i32>,
}
fn cell_of(i: u32, size: vec2<i32>) -> Cell {
    let line = i / u32(size.y);
    let plane = line / u32(size.x);
    return Cell(plane, vec2(i32(line - plane * u32(size.x)), i32(i - line * u32(size.y))));
}

fn area(size: vec2<i32>) -> u32 {
    return u32(size.x) * u32(size.y);
}

// The taps of a window that are in the plane: along each axis `count` coordinates from `first` on, a dilation apart.
struct Span {
    first: vec2<i32>,
    count: vec2<i32>,
}
fn span_of(window: vec2<i32>) -> Span {
    let begin = window * p.stride - p.padding;
    let before = select(vec2(0i), (p.dilation - 1i - begin) / p.dilation, begin < vec2(0i));
    let over = begin + (p.kernel - 1i) * p.dilation >= p.size;
    let end = select(p.kernel, (p.size - 1i - begin) / p.dilation + 1i, over);
    return Span(begin + before * p.dilation, end - before);
}

@compute @workgroup_size(256)
fn max_pool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.items; i += thread_count(groups)) {
        let window = cell_of(i, p.out_size);
        let span = span_of(window.at);
        let plane = p.offset + window.plane * area(p.size);
        var best = span.first.x * p.size.y + span.first.y;
        var value = x[plane + u32(best)];
        for (var a = 0; a < span.count.x; a++) {
            let line = (span.first.x + a * p.dilation.x) * p.size.y + span.first.y;
            for (var b = 0; b < span.count.y; b++) {
                let at = line + b * p.dilation.y;
                let v = x[plane + u32(at)];
                if (!is_nan(value) && (is_nan(v) || v > value)) {
                    value = v;
                    best = at;
                }
            }
        }
        out[i] = value;
        index_out[i] = best;
    }
}

@compute @workgroup_size(256)
fn avg_pool(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.items; i += thread_count(groups)) {
        let window = cell_of(i, p.out_size);
        let span = span_of(window.at);
        let plane = p.offset + window.plane * area(p.size);
        var sum = LongSum();
        for (var a = 0; a < span.count.x; a++) {
            let line = plane + u32((span.first.x + a) * p.size.y + span.first.y);
            for (var b = 0; b < span.count.y; b++) {
                sum = added(sum, x[line + u32(b)]);
            }
        }
        out[i] = value_of(sum) / f32(area(select(span.count, p.kernel, p.include_pad != 0u)));
    }
}

@compute @workgroup_size(256)
fn avg_pool_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = group.y * groups.x + group.x; i < p.items; i += groups.x * groups.y) {
        let window = cell_of(i, p.out_size);
        let span = span_of(window.at);
        let first = p.offset + window.plane * area(p.size) + u32(span.first.x * p.size.y + span.first.y);
        let columns = u32(span.count.y);
        var sum = LongSum();
        for (var tap = local; tap < area(span.count); tap += 256u) {
            let row = tap / columns;
            sum = added(sum, x[first + row * u32(p.size.y) + (tap - row * columns)]);
        }
        let whole = join_sum(value_of(sum), local);
        if (local == 0u) {
            out[i] = whole / f32(area(select(span.count, p.kernel, p.include_pad != 0u)));
        }
    }
}

// The windows first..last that may cover a cell: those that begin at most a window's span before it.
struct Covering {
    first: vec2<i32>,
    last: vec2<i32>,
}
fn covering(cell: vec2<i32>) -> Covering {
    let end = cell + p.padding;
    let begin = max(end - (p.kernel - 1i) * p.dilation, vec2(0i));
    return Covering((begin + (p.stride - 1i)) / p.stride, min(end / p.stride + 1i, p.out_size));
}

@compute @workgroup_size(256)
fn max_pool_grad(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.items; i += thread_count(groups)) {
        let cell = cell_of(i, p.size);
        let plane = cell.plane * area(p.out_size);
        let own = cell.at.x * p.size.y + cell.at.y;
        let windows = covering(cell.at);
        var sum = 0.0;
        for (var row = windows.first.x; row < windows.last.x; row++) {
            for (var column = windows.first.y; column < windows.last.y; column++) {
                let at = plane + u32(row * p.out_size.y + column);
                if (index[p.index_offset + at] == own) {
                    sum += x[p.offset + at];
                }
            }
        }
        out[i] = sum;
    }
}

@compute @workgroup_size(256)
fn avg_pool_grad(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < p.items; i += thread_count(groups)) {
        let cell = cell_of(i, p.size);
        let plane = p.offset + cell.plane * area(p.out_size);
        let windows = covering(cell.at);
        var sum = LongSum();
        for (var row = windows.first.x; row < windows.last.x; row++) {
            for (var column = windows.first.y; column < windows.last.y; column++) {
                let share = x[plane + u32(row * p.out_size.y + column)];
                if (p.include_pad != 0u) {
                    sum = added(sum, share);
                } else {
                    sum = added(sum, share / f32(area(span_of(vec2(row, column)).count)));
                }
            }
        }
        out[i] = value_of(sum) / select(1.0, f32(area(p.kernel)), p.include_pad != 0u);
    }
}
