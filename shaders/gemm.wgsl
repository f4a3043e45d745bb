// The tile engine behind matrix products and convolutions: C[m, n] = sum over k of A[m, k] B[k, n].
//
// A workgroup of 256 invocations makes one tile of 64 x 64 (or 32 x 32) results. It walks along k in steps of 16: the invocations copy
// a slab of A and a slab of B into workgroup memory, and each multiplies its share from there: 4 x 4 (or 2 x 2) results in
// registers. So an element is read from memory once per tile and not once per product. kernels/gemm.cuh has a picture.
//
// Where A and B lie is the business of the file that this text precedes: it has `load_a(line, k)` and `load_b(line, k)`, which are
// asked for lines and k inside of the matrix alone, and says which way to walk.

const BK: u32 = 16u;
var<workgroup> slab_a: array<f32, 1024>;
var<workgroup> slab_b: array<f32, 1024>;
// The invocation's results: i, j at 4 i + j.
var<private> sum: array<f32, 16>;

// Sums over k in first .. last for the tile whose corner is (row, column), of a product of m x n. `tile` is 64 or 32; along_k says
// that neighbours in memory differ in k. All invocations of a workgroup call with the same arguments.
fn gemm(local: u32, tile: u32, row: u32, column: u32, m: u32, n: u32, first: u32, last: u32, a_along_k: bool, b_along_k: bool) {
    let per = tile / 16u;
    let y = local / 16u * per;
    let x = local % 16u * per;
    for (var i = 0u; i < 16u; i++) {
        sum[i] = 0.0;
    }
    for (var k = first; k < last; k += BK) {
        for (var i = 0u; i < per; i++) {
            let e = local + i * 256u;
            let along = vec2(e / BK, e % BK);
            let across = vec2(e % tile, e / tile);
            let a = select(across, along, a_along_k);
            var number = 0.0;
            if (row + a.x < m && k + a.y < last) {
                number = load_a(row + a.x, k + a.y);
            }
            slab_a[a.y * tile + a.x] = number;
            let b = select(across, along, b_along_k);
            number = 0.0;
            if (column + b.x < n && k + b.y < last) {
                number = load_b(column + b.x, k + b.y);
            }
            slab_b[b.y * tile + b.x] = number;
        }
        workgroupBarrier();
        for (var kk = 0u; kk < BK; kk++) {
            for (var i = 0u; i < per; i++) {
                let a = slab_a[kk * tile + y + i];
                for (var j = 0u; j < per; j++) {
                    sum[4u * i + j] += a * slab_b[kk * tile + x + j];
                }
            }
        }
        workgroupBarrier(); // before the slabs are overwritten
    }
}
