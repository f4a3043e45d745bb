// Reduces one value of each of a workgroup's 256 invocations, with the result in all of them: a tree in workgroup memory.
// workgroup_subgroups.wgsl is the same with subgroup operations. All invocations call it in uniform control flow.
var<workgroup> tree: array<u32, 256>;

fn reduce_workgroup(op: u32, x: u32, local: u32) -> u32 {
    tree[local] = x;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half >>= 1u) {
        if (local < half) {
            tree[local] = fold(op, tree[local], tree[local + half]);
        }
        workgroupBarrier();
    }
    let result = tree[0];
    workgroupBarrier(); // before the next call overwrites the tree
    return result;
}
