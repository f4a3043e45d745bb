// The fold of a workgroup's 256 values, in every invocation: a tree in workgroup memory. For adapters without subgroups;
// join_subgroups.wgsl is the same for those that have them. All invocations call it together.
var<workgroup> tree: array<u32, 256>;

fn join(op: u32, x: u32, local: u32) -> u32 {
    tree[local] = x;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half >>= 1u) {
        if (local < half) {
            tree[local] = fold(op, tree[local], tree[local + half]);
        }
        workgroupBarrier();
    }
    let joined = tree[0];
    workgroupBarrier(); // before the next tree
    return joined;
}
