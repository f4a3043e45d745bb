// Reduces one value of each of a workgroup's 256 invocations, with the result in all of them: first within each subgroup, then over the
// results of the subgroups. workgroup_tree.wgsl is the same without subgroup operations. All invocations call it in uniform control
// flow.
//
// The size of a subgroup and its set of invocations differ between GPUs; nothing is assumed of either. Nor that invocations which left
// a loop in different iterations have reconverged: a barrier stands between every loop and the next subgroup operation.
var<workgroup> tree: array<u32, 256>;

fn reduce_subgroup(op: u32, x: u32) -> u32 {
    switch (op) {
        case SUM_F32: { return bitcast<u32>(subgroupAdd(bitcast<f32>(x))); }
        case SUM_I32: { return subgroupAdd(x); }
        case PRODUCT_I32: { return subgroupMul(x); }
        default: { return subgroupMax(x); }
    }
}

fn reduce_workgroup(op: u32, x: u32, local: u32) -> u32 {
    workgroupBarrier(); // callers come from loops with different trip counts
    let lane = subgroupExclusiveAdd(1u);
    let size = subgroupAdd(1u);
    // The first lane of each subgroup stores its result, the others the identity.
    let partial = reduce_subgroup(op, x);
    tree[local] = select(identity(op), partial, lane == 0u);
    workgroupBarrier();
    var result = identity(op);
    for (var i = lane; i < 256u; i += size) {
        result = fold(op, result, tree[i]);
    }
    workgroupBarrier(); // a small subgroup has more iterations
    return reduce_subgroup(op, result);
}
