// A copy between tensors whose neighbours in memory lie along different dimensions: out[i] = x[i], out with stride 1 along the
// innermost dimension of the walk, x along the next.
//
// transpose: a workgroup of 256 invocations takes tiles of 32 x 32 through its memory, so that neighbouring invocations read and write
// neighbours. Grid x and y = tiles, which walk. Cost: bytes read plus bytes written.
@group(0) @binding(1) var<storage, read_write> out: array<WordOut>;
@group(0) @binding(2) var<storage, read> x: array<WordIn>;

// Rows are one longer than a tile, so that the reads of a column fall into different banks.
const PITCH: u32 = 33u;
var<workgroup> tile: array<u32, 1056>;

@compute @workgroup_size(256)
fn transpose(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    let size = p.walk.near.xy;
    let tiles = (size + vec2(31u)) / 32u;
    let number = p.walk.numel / (size.x * size.y) * (tiles.x * tiles.y);
    let lane = local % 32u;
    let slice = local / 32u;
    for (var at = group.y * groups.x + group.x; at < number; at += groups.x * groups.y) {
        let plane = at / (tiles.x * tiles.y);
        let within = at - plane * (tiles.x * tiles.y);
        let corner = vec2(within % tiles.x, within / tiles.x) * 32u;
        // Of the matrices of this plane.
        let source = place(p.walk, p.x, plane * size.x * size.y);
        let sink = place(p.walk, p.out, plane * size.x * size.y);
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
                out[sink + cell.x + cell.y * p.out.near.y] = word_out(tile[lane * PITCH + k]);
            }
        }
        workgroupBarrier(); // before the next tile
    }
}
