@compute @workgroup_size(256)
fn NAME(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32) {
    for (var i = thread_index(group, groups, local); i < items(); i += thread_count(groups)) {
        NAME_item(i);
    }
}
