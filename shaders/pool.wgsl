// Pooling of planes [h, w] and its gradients. x and its gradient are [planes, h, w]; y, its gradient g and index are [planes, oh, ow]; all
// contiguous.
//
//   max_pool             y[i][j] = max over (a, b) of x[i sy + a dy - py][j sx + b dx - px] within the plane; index[i][j] = the element's
//                        row w + column. The first of equal elements, or the first NaN
//   max_pool_grad        gx[row][column] = sum of g over the windows whose index it is
//   avg_pool             y[i][j] = sum over (a, b) of the same / count, where count is kh kw or the window's elements within the plane
//   avg_pool_workgroup   the same for large windows: a workgroup per window; grid: x and y = windows, grid-stride
//   avg_pool_grad        gx[row][column] = sum of g / count over the windows that cover it; no dilation, which core does not offer
//
// A gradient gathers from the windows that may cover an element, row by row: sums have a fixed order, and nothing is zeroed first.
// Cost: one read and one write per element; overlapping windows hit the cache.

// Pairs are (row, column).
struct PoolParams {
    kernel: vec2<i32>,
    padding: vec2<i32>,
    dilation: vec2<i32>,
    stride: vec2<i32>,
    // Of x, and of y.
    size: vec2<i32>,
    out_size: vec2<i32>,
    // Elements of the output.
    items: u32,
    // The first element of the input: x, or g.
    offset: u32,
    index_offset: u32,
    // Whether count includes the padding.
    include_pad: u32,
}
@group(0) @binding(0) var<uniform> p: PoolParams;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> index_out: array<i32>;
@group(0) @binding(3) var<storage, read> index: array<i32>;

fn items() -> u32 {
    return p.items;
}

// A sum of many terms: plain sums of 32 terms, which compensated summation adds (Neumaier, 1974).
struct LongSum {
    partial: f32,
    total: f32,
    compensation: f32,
    count: u32,
}
fn added(sum: LongSum, term: f32) -> LongSum {
    let partial = sum.partial + term;
    if ((sum.count + 1u) % 32u != 0u) {
        return LongSum(partial, sum.total, sum.compensation, sum.count + 1u);
    }
    let total = sum.total + partial;
    let compensation = select((partial - total) + sum.total, (sum.total - total) + partial, abs(sum.total) >= abs(partial));
    return LongSum(0.0, total, sum.compensation + compensation, sum.count + 1u);
}
fn value_of(sum: LongSum) -> f32 {
    let total = sum.total + sum.partial;
    // The compensation of an infinite or NaN sum is NaN.
    return select(total + sum.compensation, total, (bitcast<u32>(total) & 0x7fffffffu) >= 0x7f800000u);
}

// The position of element i in planes of this size: the plane, and (row, column).
struct Position {
    plane: u32,
    at: vec2<i32>,
}
fn position_of(i: u32, size: vec2<i32>) -> Position {
    let row_start = i / u32(size.y);
    let plane = row_start / u32(size.x);
    return Position(plane, vec2(i32(row_start - plane * u32(size.x)), i32(i - row_start * u32(size.y))));
}

fn area(size: vec2<i32>) -> u32 {
    return u32(size.x) * u32(size.y);
}

// The part of a window within the plane: along each axis `count` coordinates from `first` on, a dilation apart.
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

fn max_pool_item(i: u32) {
    let window = position_of(i, p.out_size);
    let span = span_of(window.at);
    let plane = p.offset + window.plane * area(p.size);
    var best = span.first.x * p.size.y + span.first.y;
    var value = x[plane + u32(best)];
    for (var a = 0; a < span.count.x; a++) {
        let row_start = (span.first.x + a * p.dilation.x) * p.size.y + span.first.y;
        for (var b = 0; b < span.count.y; b++) {
            let at = row_start + b * p.dilation.y;
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

fn avg_pool_item(i: u32) {
    let window = position_of(i, p.out_size);
    let span = span_of(window.at);
    let plane = p.offset + window.plane * area(p.size);
    var sum = LongSum();
    for (var a = 0; a < span.count.x; a++) {
        let row_start = plane + u32((span.first.x + a) * p.size.y + span.first.y);
        for (var b = 0; b < span.count.y; b++) {
            sum = added(sum, x[row_start + u32(b)]);
        }
    }
    out[i] = value_of(sum) / f32(area(select(span.count, p.kernel, p.include_pad != 0u)));
}

@compute @workgroup_size(256)
fn avg_pool_workgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = group.y * groups.x + group.x; i < p.items; i += groups.x * groups.y) {
        let window = position_of(i, p.out_size);
        let span = span_of(window.at);
        let first = p.offset + window.plane * area(p.size) + u32(span.first.x * p.size.y + span.first.y);
        let columns = u32(span.count.y);
        var sum = LongSum();
        for (var tap = local; tap < area(span.count); tap += 256u) {
            let row = tap / columns;
            sum = added(sum, x[first + row * u32(p.size.y) + (tap - row * columns)]);
        }
        let total = workgroup_sum(value_of(sum), local);
        if (local == 0u) {
            out[i] = total / f32(area(select(span.count, p.kernel, p.include_pad != 0u)));
        }
    }
}

// The windows first..last that may cover an element: those that begin at most a window's extent before it.
struct Covering {
    first: vec2<i32>,
    last: vec2<i32>,
}
fn covering(element: vec2<i32>) -> Covering {
    let end = element + p.padding;
    let begin = max(end - (p.kernel - 1i) * p.dilation, vec2(0i));
    return Covering((begin + (p.stride - 1i)) / p.stride, min(end / p.stride + 1i, p.out_size));
}

fn max_pool_grad_item(i: u32) {
    let element = position_of(i, p.size);
    let plane = element.plane * area(p.out_size);
    let index_here = element.at.x * p.size.y + element.at.y;
    let windows = covering(element.at);
    var sum = 0.0;
    for (var row = windows.first.x; row < windows.last.x; row++) {
        for (var column = windows.first.y; column < windows.last.y; column++) {
            let at = plane + u32(row * p.out_size.y + column);
            if (index[p.index_offset + at] == index_here) {
                sum += x[p.offset + at];
            }
        }
    }
    out[i] = sum;
}

fn avg_pool_grad_item(i: u32) {
    let element = position_of(i, p.size);
    let plane = p.offset + element.plane * area(p.out_size);
    let windows = covering(element.at);
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
