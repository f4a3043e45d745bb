// The record of an index out of range, which precedes the files that check indices: the id of the `Caller`, the index,
// the size of its dimension, unused.
@group(0) @binding(4) var<storage, read_write> bad: array<atomic<u32>, 4>;

// Records an index, unless one is recorded since the host cleared the record. The weak exchange may fail spuriously: retry until the
// record is taken.
fn record(caller: u32, index: u32, bound: u32) {
    loop {
        let attempt = atomicCompareExchangeWeak(&bad[0], 0u, caller);
        if (attempt.exchanged) {
            atomicStore(&bad[1], index);
            atomicStore(&bad[2], bound);
        }
        if (attempt.exchanged || attempt.old_value != 0u) {
            return;
        }
    }
}
