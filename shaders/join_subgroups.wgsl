// The fold of a workgroup's 256 values, in every invocation: of each subgroup by its own instruction, then of the subgroups'
// results. join.wgsl is the same without subgroups. All invocations call it together.
//
// Nothing is assumed of a subgroup's size, nor of which invocations it holds: both differ from GPU to GPU. Nor that invocations
// which left a loop at different turns have met again: a barrier stands between every loop and the subgroup operation after it.
var<workgroup> tree: array<u32, 256>;

fn join_subgroup(op: u32, x: u32) -> u32 {
    switch (op) {
        case SUM_F32: { return bitcast<u32>(subgroupAdd(bitcast<f32>(x))); }
        case SUM_I32: { return subgroupAdd(x); }
        case PRODUCT_I32: { return subgroupMul(x); }
        default: { return subgroupMax(x); }
    }
}

fn join(op: u32, x: u32, local: u32) -> u32 {
    workgroupBarrier(); // callers come from loops of unequal lengths
    let lane = subgroupExclusiveAdd(1u);
    let size = subgroupAdd(1u);
    // The first of each subgroup lays down its result, the others what changes nothing.
    let part = join_subgroup(op, x);
    tree[local] = select(start(op), part, lane == 0u);
    workgroupBarrier();
    var folded = start(op);
    for (var i = lane; i < 256u; i += size) {
        folded = fold(op, folded, tree[i]);
    }
    workgroupBarrier(); // invocations of a small subgroup take more turns
    return join_subgroup(op, folded);
}
