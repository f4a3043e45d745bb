@compute @workgroup_size(256)
fn NAME(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var block = group.y * groups.x + group.x; block < blocks(items()); block += groups.x * groups.y) {
        let i = block * BLOCK + first_index(local);
        if (i < items()) {
            NAME_at(indices(i, items()), mask_of(i, items()));
        }
    }
}
