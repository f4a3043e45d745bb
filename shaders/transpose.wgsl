// A copy between tensors that are contiguous along different dimensions: out[i] = x[i], where out has stride 1 along the innermost
// dimension of the walk, and x along the next.
//
// transpose: a workgroup of 256 invocations stages tiles of 32 x 32 in its memory, so that both reads and writes are coalesced.
// Grid: x and y = tiles, grid-stride. Cost: bytes read plus bytes written.
@group(0) @binding(1) var<storage, read_write> out: array<WordOut>;
@group(0) @binding(2) var<storage, read> x: array<WordIn>;

// Rows are padded by one, so that the reads of a column fall into different banks.
const PITCH: u32 = 33u;
var<workgroup> tile: array<u32, 1056>;

@compute @workgroup_size(256)
fn transpose(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let size = p.walk.near.xy;
    let tiles = (size + vec2(31u)) / 32u;
    let count = p.walk.numel / (size.x * size.y) * (tiles.x * tiles.y);
    let lane = local % 32u;
    let slice = local / 32u;
    for (var at = group.y * groups.x + group.x; at < count; at += groups.x * groups.y) {
        let plane = at / (tiles.x * tiles.y);
        let in_plane = at - plane * (tiles.x * tiles.y);
        let corner = vec2(in_plane % tiles.x, in_plane / tiles.x) * 32u;
        // The first elements of this plane's matrices.
        let source = offset_of(p.walk, p.x, plane * size.x * size.y);
        let target_ = offset_of(p.walk, p.out, plane * size.x * size.y);
        for (var k = slice; k < 32u; k += 8u) {
            let cell = corner + vec2(k, lane);
            if (all(cell < size)) {
                tile[k * PITCH + lane] = word_in(x[source + cell.x * p.x.near.x + cell.y]);
            }
        }
        workgroupBarrier();
        for (var k = slice; k < 32u; k += 8u) {
            let cell = corner + vec2(lane, k);
            if (all(cell < size)) {
                out[target_ + cell.x + cell.y * p.out.near.y] = word_out(tile[lane * PITCH + k]);
            }
        }
        workgroupBarrier(); // before the next tile
    }
}
