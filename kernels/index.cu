// Gather and scatter: reads and writes at indices that another tensor holds.
//
//   index_gather_BYTES     out[i] = x[base(i) + step index[i]]
//   index_add_i32          to[base(i) + step index[i]] += x[i]      with atomics: integer sums do not depend on their order
//   index_add_short_TYPE   the same for floats, for short rows: the first of the entries with one index adds all of them
//   index_add_sorted_TYPE  the same for floats, for longer rows, given the sorted order of their indices
//   index_set_BYTES        to[base(i) + step index[i]] = x[i] unless a later k of the same row has the same index
//   index_clear            owners[base(i) + step index[i]] = 0
//   index_claim            owners[base(i) + step index[i]] = the largest k + 1 of all entries with this index
//   index_commit_BYTES     to[base(i) + step index[i]] = x[i] if owners says that i has the largest k
//
// i counts over the shape of the index; base(i) is the offset of i with the indexed dimension at 0, and k is its position along
// that dimension. A row is the entries along the indexed dimension. Set is one launch for short rows, where each element compares
// itself with the later ones, and three for long rows: clear, claim, commit. The last of several writers determines the value.
// All but sums move bits only, so kernels depend on the size of an element; where contiguous elements share an index (an
// embedding) 16 bytes are one element.
//
// Floats are added to an element one after another in the order of k, so results are bit-identical on every run and equal to
// those of the CPU backend. For long rows, sort.cu sorts the entries by index, and entries of one index by k, once for all rows
// that share the index (for an embedding there is one). The sum is then a segmented reduction: a segment is the entries of one
// index. A warp processes the segments that begin in a tile of 32 / c entries, for c columns (rows that share the index); c is
// the smallest power of two that covers all columns, at most 32. It reads 32 entries of a long segment at a time.
//
// An index outside of 0..bound is recorded and its access is skipped; gather writes 0. Launch: a grid-stride loop of blocks of
// 256 threads, four elements per thread and iteration, 256 apart, so that accesses coalesce and four are in flight;
// index_add_sorted: a warp per tile and c columns. Cost: the index, one read and one write per element. For long rows set reads
// the index three times and moves two owners more. add_short reads the index once per pair of entries. add_sorted adds the
// launches of sort.cu, with up to 20 bytes of workspace per entry; one warp adds the entries of a segment in sequence, so the
// longest segment bounds the time.
// Budget: 96 registers, 0 bytes of shared memory.
#include "common.cuh"

// Mirrors `IndexParams` in index.rs. Every tensor has the walk's shape.
struct IndexParams {
  Walk walk;
  // The indexed tensor at position 0 of the dimension, with stride 0 along it. Read by gather, else written.
  TensorRef base;
  // i32
  TensorRef index;
  // The source of a scatter, or the contiguous result of a gather.
  TensorRef x;
  // k, as strides: 1 along the indexed dimension and 0 along the others. No data.
  TensorRef position;
  // The stride and the size of the indexed dimension in base.
  u64 step;
  u64 bound;
  // The entries of a row, and their strides in the index and in x.
  u64 n;
  u64 index_step;
  u64 x_step;
  // One per element of the indexed tensor.
  u32* owners;
  BadIndex* bad;
  // The id of the `Caller`, recorded with an out-of-range index.
  u32 caller;
  u32 unused;
};

// Mirrors `SortedParams` in index.rs.
struct SortedParams {
  // The rows with different indices, and the columns that share the indices of a row.
  Walk rows;
  Walk columns;
  // The rows' first elements in the destination at index 0, in the index (i32) and in x; and the columns' offsets from them.
  TensorRef to;
  TensorRef index;
  TensorRef x;
  TensorRef to_column;
  TensorRef x_column;
  // [rows, n]: the positions of each row's entries, sorted by index, ties by position.
  const i32* order;
  // The entries of a row.
  u64 n;
  // The stride and the size of the indexed dimension in the destination.
  u64 step;
  u64 bound;
  // The strides of a row's entries in the index and in x.
  u64 index_step;
  u64 x_step;
  // The tiles of a row, the groups of columns, and rows times tiles times groups.
  u64 tiles;
  u64 groups;
  u64 tasks;
  BadIndex* bad;
  u32 caller;
  // The logarithm of the columns of a group. A tile has 32 / columns entries.
  u32 log_columns;
};

// Elements per thread and iteration.
#define UNROLL 4

// Bytes that a lane has in flight while it adds a long segment.
#define PREFETCH_BYTES 64

struct __align__(16) Bytes16 {
  u64 v[2];
};

// The offsets of element i in N tensors. The loop over dimensions is not unrolled, as in offset_of() of common.cuh.
template <int N>
__device__ __forceinline__ void offsets_of(const Walk& walk, const TensorRef* const (&x)[N], u64 i, u64 (&at)[N]) {
#pragma unroll
  for (int n = 0; n < N; ++n) at[n] = 0;
#pragma unroll 1
  for (int d = int(walk.rank) - 1; d >= 0; --d) {
    u64 rest = 0;
    if (d > 0) rest = divide(walk, d, i);
    const u64 coordinate = d > 0 ? i - rest * walk.sizes[d] : i;
#pragma unroll
    for (int n = 0; n < N; ++n) at[n] += coordinate * x[n]->strides[d];
    i = rest;
  }
}

// Calls body(j, i) for the elements i of this thread in one iteration, j in 0..UNROLL.
template <typename F>
__device__ __forceinline__ void each_of(u64 first, u64 numel, F body) {
#pragma unroll
  for (int j = 0; j < UNROLL; ++j) {
    const u64 i = first + j * THREADS + threadIdx.x;
    if (i < numel) body(j, i);
  }
}

// The grid-stride loop: calls body(first) for this block's groups of THREADS * UNROLL elements.
template <typename F>
__device__ __forceinline__ void each_iteration(u64 numel, F body) {
  const u64 length = THREADS * UNROLL;
  for (u64 first = blockIdx.x * length; first < numel; first += gridDim.x * length) body(first);
}

template <typename T>
__device__ __forceinline__ void gather(const IndexParams& p) {
  const T* x = static_cast<const T*>(p.base.data);
  const i32* index = static_cast<const i32*>(p.index.data);
  T* out = static_cast<T*>(p.x.data);
  const TensorRef* const operands[2] = {&p.base, &p.index};
  each_iteration(p.walk.numel, [&](u64 first) {
    u64 at[UNROLL][2];
    i32 entry[UNROLL];
    T v[UNROLL];
    each_of(first, p.walk.numel, [&](int j, u64 i) { offsets_of(p.walk, operands, i, at[j]); });
    each_of(first, p.walk.numel, [&](int j, u64) { entry[j] = index[at[j][1]]; });
    each_of(first, p.walk.numel, [&](int j, u64) {
      v[j] = T{};
      if (check_index(p.bad, p.caller, entry[j], p.bound)) v[j] = x[at[j][0] + u64(entry[j]) * p.step];
    });
    each_of(first, p.walk.numel, [&](int j, u64 i) { out[i] = v[j]; });
  });
}

// Calls body(to, x, index, k) for this thread's elements with an index in range: the offsets of the destination, of the source
// and of the index, and the position along the indexed dimension.
template <typename F>
__device__ __forceinline__ void scattered(const IndexParams& p, F body) {
  const i32* index = static_cast<const i32*>(p.index.data);
  const TensorRef* const operands[4] = {&p.base, &p.index, &p.x, &p.position};
  each_iteration(p.walk.numel, [&](u64 first) {
    u64 at[UNROLL][4];
    i32 entry[UNROLL];
    each_of(first, p.walk.numel, [&](int j, u64 i) {
      offsets_of(p.walk, operands, i, at[j]);
      entry[j] = index[at[j][1]];
    });
    each_of(first, p.walk.numel, [&](int j, u64) {
      if (check_index(p.bad, p.caller, entry[j], p.bound))
        body(at[j][0] + u64(entry[j]) * p.step, at[j][2], at[j][1], at[j][3]);
    });
  });
}

__device__ __forceinline__ void add_int(const IndexParams& p) {
  u32* to = static_cast<u32*>(p.base.data);
  const u32* x = static_cast<const u32*>(p.x.data);
  scattered(p, [&](u64 to_offset, u64 from, u64, u64) { atomicAdd(to + to_offset, x[from]); });
}

template <typename T>
__device__ __forceinline__ void add_short(const IndexParams& p) {
  T* to = static_cast<T*>(p.base.data);
  const T* x = static_cast<const T*>(p.x.data);
  const i32* index = static_cast<const i32*>(p.index.data);
  scattered(p, [&](u64 to_offset, u64 from, u64 at, u64 k) {
    bool first = true;
#pragma unroll 1
    for (u64 back = 1; back <= k && first; ++back) first = index[at - back * p.index_step] != index[at];
    if (!first) return;
    T sum = to[to_offset] + x[from];
#pragma unroll 1
    for (u64 on = 1; k + on < p.n; ++on)
      if (index[at + on * p.index_step] == index[at]) sum += x[from + on * p.x_step];
    to[to_offset] = sum;
  });
}

// Adds to `sum`, one by one, the elements of x at the sorted entries from j on as long as their index is `key`. All lanes of a
// warp call it with the same j and key; x is this lane's column.
template <typename T>
__device__ __forceinline__ T add_segment(const SortedParams& p, const i32* order, const i32* index, const T* x, bool inside,
                                     u64 j, i32 key, T sum) {
  constexpr u32 PREFETCH = PREFETCH_BYTES / sizeof(T);
  const u32 lane = threadIdx.x % WARP, log = p.log_columns, tile_entries = WARP >> log;
  const u32 entry = lane >> log, column = lane & ((1u << log) - 1);
  // A lane per entry: its position, and whether it belongs to the segment.
  i32 k = 0;
  const auto in_segment = [&](u64 at) {
    if (at >= p.n) return false;
    k = order[at];
    return index[u64(k) * p.index_step] == key;
  };
  bool same = in_segment(j + lane);
  while (true) {
    const u32 others = ~__ballot_sync(FULL_WARP, same), count = others == 0 ? WARP : __ffs(int(others)) - 1;
    const i32 k_of_lane = k;
    j += WARP;
    same = count == WARP && in_segment(j + lane);  // in flight during the additions
#pragma unroll 1
    for (u32 first = 0; first < count; first += PREFETCH * tile_entries) {
      T v[PREFETCH];
#pragma unroll
      for (u32 n = 0; n < PREFETCH; ++n) {
        const u32 e = first + n * tile_entries + entry;
        const u64 from = u64(__shfl_sync(FULL_WARP, k_of_lane, int(e % WARP))) * p.x_step;
        v[n] = T(0);
        if (e < count && inside) v[n] = x[from];
      }
#pragma unroll
      for (u32 n = 0; n < PREFETCH; ++n) {
        const u32 done = first + n * tile_entries;
        const u32 valid = done < count ? smaller_of(count - done, tile_entries) : 0;
#pragma unroll 1
        for (u32 e = 0; e < valid; ++e) sum += __shfl_sync(FULL_WARP, v[n], int(e << log | column));
      }
    }
    if (count < WARP) return sum;
  }
}

template <typename T>
__device__ __forceinline__ void add_sorted(const SortedParams& p) {
  const u32 lane = threadIdx.x % WARP, log = p.log_columns, tile_entries = WARP >> log;
  const u32 entry = lane >> log, column_of_lane = lane & ((1u << log) - 1);
  for (u64 task = thread_index() / WARP; task < p.tasks; task += thread_count() / WARP) {
    const u64 tile = task / p.groups, row = tile / p.tiles;
    const u64 column = ((task - tile * p.groups) << log) + column_of_lane;
    const u64 first = (tile - row * p.tiles) * tile_entries, j = first + entry;
    const bool inside = column < p.columns.numel;
    const i32* order = p.order + row * p.n;
    const i32* index = static_cast<const i32*>(p.index.data) + offset_of(p.rows, p.index.strides, row);
    // This lane's entry, its index, and the previous entry's index: a segment begins where they differ.
    i32 k = 0, i = 0;
    if (j < p.n) {
      k = order[j];
      i = index[u64(k) * p.index_step];
    }
    i32 before = __shfl_sync(FULL_WARP, i, int((lane - (1u << log)) % WARP));
    if (entry == 0 && first > 0) before = index[u64(order[first - 1]) * p.index_step];
    const bool begins = j < p.n && (j == 0 || before != i);
    const u32 beginning = __ballot_sync(FULL_WARP, begins);
    if (beginning == 0) continue;
    const u64 safe_column = inside ? column : 0;
    const T* x = static_cast<const T*>(p.x.data) + offset_of(p.rows, p.x.strides, row) +
                 offset_of(p.columns, p.x_column.strides, safe_column);
    T* to = static_cast<T*>(p.to.data) + offset_of(p.rows, p.to.strides, row) +
            offset_of(p.columns, p.to_column.strides, safe_column);
    T v = T(0), sum = T(0);
    if (j < p.n && inside) v = x[u64(k) * p.x_step];
    const bool valid = begins && check_index(p.bad, p.caller, i, p.bound);
    if (valid && inside) sum = to[u64(i) * p.step] + v;
    // The rest of the segment within the tile.
    bool goes_on = valid;
#pragma unroll 1
    for (u32 e = 1; e < tile_entries; ++e) {
      const int from = int((lane + (e << log)) % WARP);
      const T next = __shfl_sync(FULL_WARP, v, from);
      const i32 next_index = __shfl_sync(FULL_WARP, i, from);
      goes_on = goes_on && entry + e < tile_entries && j + e < p.n && next_index == i;
      if (!__any_sync(FULL_WARP, goes_on)) break;
      if (goes_on) sum += next;
    }
    // The last segment of the tile may continue after it.
    const u32 owner = (WARP - 1 - __clz(int(beginning))) >> log;
    const i32 key = __shfl_sync(FULL_WARP, i, int(owner << log));
    if (first + tile_entries < p.n && __shfl_sync(FULL_WARP, int(valid), int(owner << log))) {
      const T so_far = __shfl_sync(FULL_WARP, sum, int(owner << log | column_of_lane));
      const T total = add_segment(p, order, index, x, inside, first + tile_entries, key, so_far);
      if (entry == owner) sum = total;
    }
    if (valid && inside) to[u64(i) * p.step] = sum;
  }
}

template <typename T>
__device__ __forceinline__ void set(const IndexParams& p) {
  T* to = static_cast<T*>(p.base.data);
  const T* x = static_cast<const T*>(p.x.data);
  const i32* index = static_cast<const i32*>(p.index.data);
  scattered(p, [&](u64 to_offset, u64 from, u64 at, u64 k) {
    bool last = true;
#pragma unroll 1
    for (u64 later = k + 1; later < p.n && last; ++later)
      last = index[at + (later - k) * p.index_step] != index[at];
    if (last) to[to_offset] = x[from];
  });
}

template <typename T>
__device__ __forceinline__ void commit(const IndexParams& p) {
  T* to = static_cast<T*>(p.base.data);
  const T* x = static_cast<const T*>(p.x.data);
  scattered(p, [&](u64 to_offset, u64 from, u64, u64 k) {
    if (p.owners[to_offset] == u32(k) + 1) to[to_offset] = x[from];
  });
}

#define INDEX(name) KERNEL(index_##name, IndexParams, THREADS)
#define MOVES(bytes, T)                     \
  INDEX(gather_##bytes) { gather<T>(p); }   \
  INDEX(set_##bytes) { set<T>(p); }         \
  INDEX(commit_##bytes) { commit<T>(p); }
MOVES(1, u8)
MOVES(4, u32)
MOVES(8, u64)
MOVES(16, Bytes16)

INDEX(add_i32) { add_int(p); }
INDEX(add_short_f32) { add_short<float>(p); }
INDEX(add_short_f64) { add_short<double>(p); }
KERNEL(index_add_sorted_f32, SortedParams, THREADS) { add_sorted<float>(p); }
KERNEL(index_add_sorted_f64, SortedParams, THREADS) { add_sorted<double>(p); }

INDEX(clear) {
  scattered(p, [&](u64 to_offset, u64, u64, u64) { p.owners[to_offset] = 0; });
}
INDEX(claim) {
  scattered(p, [&](u64 to_offset, u64, u64, u64 k) { atomicMax(p.owners + to_offset, u32(k) + 1); });
}
