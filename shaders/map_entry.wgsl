
@compute @workgroup_size(256)
fn NAME(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(p.walk.numel); block += groups.x * groups.y) {
        let i = block * BLOCK + first_index(local);
        if (i < p.walk.numel) {
            NAME_at(indices(i, p.walk.numel), mask_of(i, p.walk.numel));
        }
    }
}
