// The fold of a workgroup's 256 values, in every invocation: of each subgroup by its own instruction, then of the subgroups'
// results. join.wgsl is the same without subgroups. All invocations call it together.
//
// Nothing is assumed of a subgroup's size, nor of which invocations it holds: both differ from card to card.
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
    workgroupBarrier(); // before the next call overwrites
    return join_subgroup(op, folded);
}
