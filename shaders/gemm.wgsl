// Tiled matrix multiplication for matmul.wgsl and conv.wgsl: C[m, n] = sum over k of A[m, k] B[k, n].
//
// A workgroup computes one tile of C: 256 invocations 64 x 64 results, or 64 invocations 32 x 32. It is a square of quads x quads
// invocations, `quads` being 16 or 8, each with 4 x 4 results in registers. It iterates over k in steps of `quads`: each
// invocation loads four rows of A and four columns of B at one k and stores them to workgroup memory as one vec4 each; then it
// computes its results from there, with two vec4 loads per 16 multiply-adds. The loads of the next step are issued before the
// multiplications, to overlap with them. kernels/gemm.cuh has a figure.
//
// The file that follows defines how A and B are loaded:
//   begin_a(row), begin_b(column)       sets an invocation's four rows or columns, once per tile
//   seek_a(k, step), seek_b(k, step)    sets its first k and the distance to its next
//   fetch_a(), fetch_b()                returns the four elements at that k, 0 beyond the matrix's rows or columns; advances k
// So a k is divided into coordinates (channel, tap) only once per tile. fetch is called only for k within the matrix.

@group(0) @binding(2) var<storage, read> a: array<FloatIn>;
@group(0) @binding(3) var<storage, read> b: array<FloatIn>;

// Four elements of an operand; 0 for those that do not exist.
fn four_of_a(at: vec4<u32>, has: vec4<bool>) -> vec4<f32> {
    var four = vec4(0.0);
    if (has.x) {
        four.x = float_in(a[at.x]);
    }
    if (has.y) {
        four.y = float_in(a[at.y]);
    }
    if (has.z) {
        four.z = float_in(a[at.z]);
    }
    if (has.w) {
        four.w = float_in(a[at.w]);
    }
    return four;
}
fn four_of_b(at: vec4<u32>, has: vec4<bool>) -> vec4<f32> {
    var four = vec4(0.0);
    if (has.x) {
        four.x = float_in(b[at.x]);
    }
    if (has.y) {
        four.y = float_in(b[at.y]);
    }
    if (has.z) {
        four.z = float_in(b[at.z]);
    }
    if (has.w) {
        four.w = float_in(b[at.w]);
    }
    return four;
}

// Rows of a slab are padded by one vec4, so that the writes of a column fall into different banks.
var<workgroup> slab_a: array<vec4<f32>, 288>;
var<workgroup> slab_b: array<vec4<f32>, 288>;
// The invocation's results, by row.
var<private> sum: array<vec4<f32>, 4>;

fn clear_sums() {
    sum[0] = vec4(0.0);
    sum[1] = vec4(0.0);
    sum[2] = vec4(0.0);
    sum[3] = vec4(0.0);
}
fn add_products(from_a: vec4<f32>, from_b: vec4<f32>) {
    sum[0] += from_a.x * from_b;
    sum[1] += from_a.y * from_b;
    sum[2] += from_a.z * from_b;
    sum[3] += from_a.w * from_b;
}

// The sums over k in first .. last of the tile at (row, column). With a_along_k or b_along_k, elements of that operand are
// adjacent in memory along k, so neighbouring invocations load neighbouring k. All invocations of a workgroup call it with the
// same arguments, except `local`.
//
// A sliced tile has quads = 8 and 256 invocations, for products of few tiles: each of four slices of 64 invocations handles every
// fourth step of k, and the first slice gets the sums of all.
fn gemm(local: u32, quads: u32, sliced: bool, row: u32, column: u32, first: u32, last: u32, a_along_k: bool, b_along_k: bool) {
    let slice = select(0u, local / 64u, sliced);
    let own = select(local, local % 64u, sliced);
    let step = select(quads, 4u * quads, sliced);
    let y = own / quads;
    let x = own % quads;
    let a = select(vec2(y, x), vec2(x, y), a_along_k); // (k, vec4)
    let b = select(vec2(y, x), vec2(x, y), b_along_k);
    let pitch = quads + 1u;
    let start = slice * quads * pitch;
    let a_k = slice * quads + a.x;
    let b_k = slice * quads + b.x;
    begin_a(row + 4u * a.y);
    begin_b(column + 4u * b.y);
    seek_a(first + a_k, step);
    seek_b(first + b_k, step);
    clear_sums();
    var next_a = vec4(0.0);
    var next_b = vec4(0.0);
    if (first + a_k < last) {
        next_a = fetch_a();
    }
    if (first + b_k < last) {
        next_b = fetch_b();
    }
    for (var k = first; k < last; k += step) {
        slab_a[start + a.x * pitch + a.y] = next_a;
        slab_b[start + b.x * pitch + b.y] = next_b;
        workgroupBarrier();
        next_a = vec4(0.0);
        next_b = vec4(0.0);
        if (k + step + a_k < last) {
            next_a = fetch_a();
        }
        if (k + step + b_k < last) {
            next_b = fetch_b();
        }
        for (var kk = 0u; kk < quads; kk++) {
            add_products(slab_a[start + kk * pitch + y], slab_b[start + kk * pitch + x]);
        }
        workgroupBarrier(); // before the slabs are overwritten
    }
    if (sliced) {
        add_slices(slice, own);
    }
}

// Adds the sums of all slices to those of the first.
fn add_slices(slice: u32, own: u32) {
    for (var other = 1u; other < 4u; other++) {
        if (slice == other) {
            slab_a[own] = sum[0];
            slab_a[own + 64u] = sum[1];
            slab_a[own + 128u] = sum[2];
            slab_a[own + 192u] = sum[3];
        }
        workgroupBarrier();
        if (slice == 0u) {
            sum[0] += slab_a[own];
            sum[1] += slab_a[own + 64u];
            sum[2] += slab_a[own + 128u];
            sum[3] += slab_a[own + 192u];
        }
        workgroupBarrier(); // before the next slice stores its sums
    }
}

// The elements that an invocation of gemm_wide loads for the next eight k: B at four of them, and A at one.
var<private> next_wide: array<vec4<f32>, 5>;
fn fetch_wide(local: u32, a: u32, b: u32, k: u32, last: u32) {
    next_wide = array<vec4<f32>, 5>();
    if (k + b < last) {
        next_wide[0] = fetch_b();
    }
    if (k + b + 2u < last) {
        next_wide[1] = fetch_b();
    }
    if (k + b + 4u < last) {
        next_wide[2] = fetch_b();
    }
    if (k + b + 6u < last) {
        next_wide[3] = fetch_b();
    }
    if (local < 16u && k + a < last) {
        next_wide[4] = fetch_a();
    }
}

// As gemm for a tile of 8 x 128 with 64 invocations, for products of few rows, where most of a square tile would be unused.
// Neighbouring invocations load neighbouring columns of B.
fn gemm_wide(local: u32, row: u32, column: u32, first: u32, last: u32) {
    let y = local / 32u;
    let x = local % 32u;
    // 16 invocations load the two vec4 of A at eight k; all load their vec4 of B at every second k.
    let a = vec2(local % 8u, local / 8u);
    begin_a(row + 4u * min(a.y, 1u));
    begin_b(column + 4u * x);
    seek_a(first + a.x, 8u);
    seek_b(first + y, 2u);
    clear_sums();
    fetch_wide(local, a.x, y, first, last);
    for (var k = first; k < last; k += 8u) {
        if (local < 16u) {
            slab_a[a.x * 2u + a.y] = next_wide[4];
        }
        slab_b[y * 33u + x] = next_wide[0];
        slab_b[(y + 2u) * 33u + x] = next_wide[1];
        slab_b[(y + 4u) * 33u + x] = next_wide[2];
        slab_b[(y + 6u) * 33u + x] = next_wide[3];
        workgroupBarrier();
        fetch_wide(local, a.x, y, k + 8u, last);
        for (var kk = 0u; kk < 8u; kk++) {
            add_products(slab_a[kk * 2u + y], slab_b[kk * 33u + x]);
        }
        workgroupBarrier(); // before the slabs are overwritten
    }
}
