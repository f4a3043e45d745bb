// Reading and writing at indices that another tensor holds.
//
//   index_gather_BYTES    out[i] = x[base(i) + step index[i]]
//   index_add_i32         to[base(i) + step index[i]] += x[i]      by atomics: a sum that wraps has no order
//   index_add_short_TYPE  the same in floats, for short lines: the first entry of those with one index adds all of them
//   index_add_sorted_TYPE the same in floats, for longer lines, given the order of their indices
//   index_set_BYTES       to[base(i) + step index[i]] = x[i] unless a later k of the same line has the same index
//   index_clear           winners[base(i) + step index[i]] = 0
//   index_elect           winners[base(i) + step index[i]] = the largest k + 1 of those who want this place
//   index_settle_BYTES    to[base(i) + step index[i]] = x[i] if winners says that i's k is the last
//
// i walks over the index's shape; base(i) is i's place with the indexed dimension at 0, k its entry there. Setting is one launch
// where lines are short (each element looks at those behind it) and three where they are long (clear, elect, settle), and the
// last of several stays on every run. Only bits move but for sums, so kernels are named by the element's bytes; where an index
// is repeated along contiguous rows (an embedding) 16 bytes of neighbours are one element.
//
// Floats are added to a place one after another in the order of k: the bits of a sum depend on nothing else, and are those of the
// CPU backend. Where a line (the entries along the indexed dimension) is long, sort.cu orders its entries by their index and equal
// ones by k, once for all lines that share the index (of an embedding's rows, one line). The entries of one index, a run, go to one
// place. A warp takes the runs that begin in a tile of 32 / c entries, for c columns, which are lines that share the index: c is a
// power of two that holds all columns, at most 32. It reads 32 entries of a long run at a time.
//
// An index outside 0..bound skips the access (what is read is 0) and is recorded. Launch: blocks of 256 threads, four elements
// per thread and turn, 256 apart, so that a warp's accesses are of neighbours and four are under way at once; index_add_sorted:
// a warp per tile and c columns. Cost: the index, one read and one write per element; for long lines set reads the index three
// times and moves two numbers more. Floats that are added along short lines read the index once per pair of entries; along long
// ones it is sorted first, which takes the launches of sort.cu and up to 20 bytes of workspace per entry of the index. A run is
// added by one warp, entry after entry, so the longest run bounds the time.
// Budget: 96 registers, 0 bytes of shared memory.
#include "common.cuh"

// Mirrors `IndexParams` in index.rs. Operands have the walk's shape.
struct IndexParams {
  Walk walk;
  // What is indexed, at entry 0 of the dimension: its stride there is 0. Read by gather, else written.
  Operand base;
  // i32
  Operand index;
  // What is scattered, or the gathered elements, in order.
  Operand x;
  // k: stride 1 along the indexed dimension and 0 along the others. No data.
  Operand number;
  // Elements between neighbours of the indexed dimension in base, and how many it has.
  u64 step;
  u64 bound;
  // Entries of a line: of the index along the dimension; and elements between them in the index and in x.
  u64 line;
  u64 line_step;
  u64 x_step;
  // As many as the whole of what is indexed has elements.
  u32* winners;
  BadIndex* bad;
  // `IndexedOp` in device.rs.
  u32 op;
  u32 unused;
};

// Mirrors `SortedParams` in index.rs.
struct SortedParams {
  // Lines whose indices differ, and columns: what shares the index of a line.
  Walk lines;
  Walk columns;
  // Where a line begins in the destination, at entry 0, in the index (i32) and in x; and how far from there a column lies.
  Operand to;
  Operand index;
  Operand x;
  Operand to_column;
  Operand x_column;
  // The entries of each line, ordered by their index and equal ones by themselves, [lines, line].
  const i32* order;
  // Entries of a line.
  u64 line;
  // Elements between neighbours of the indexed dimension in the destination, and how many it has.
  u64 step;
  u64 bound;
  // Elements between entries of a line in the index and in x.
  u64 line_step;
  u64 x_step;
  // Of a line: tiles of entries, groups of columns that a warp takes. Tasks are lines times tiles times groups.
  u64 tiles;
  u64 groups;
  u64 tasks;
  BadIndex* bad;
  u32 op;
  // A power of two: columns of a group. A tile is 32 / columns entries.
  u32 log_columns;
};

#define AT_ONCE 4

// Bytes that a lane loads at once while a long run is added.
#define AHEAD_BYTES 64

struct __align__(16) Bytes16 {
  u64 v[2];
};

// The places of element i along N sets of strides. The loop over dimensions is not unrolled: see place() in common.cuh.
template <int N>
__device__ __forceinline__ void places(const Walk& walk, const Operand* const (&x)[N], u64 i, u64 (&at)[N]) {
#pragma unroll
  for (int n = 0; n < N; ++n) at[n] = 0;
#pragma unroll 1
  for (int d = int(walk.rank) - 1; d >= 0; --d) {
    u64 rest = 0;
    if (d > 0) {
      rest = walk.wide ? i / walk.sizes[d] : (__umulhi(u32(i), walk.magics[d]) + u32(i)) >> walk.shifts[d];
    }
    const u64 entry = d > 0 ? i - rest * walk.sizes[d] : i;
#pragma unroll
    for (int n = 0; n < N; ++n) at[n] += entry * x[n]->strides[d];
    i = rest;
  }
}

// body(j, i) for j in 0..AT_ONCE and those i of one turn that exist.
template <typename F>
__device__ __forceinline__ void each_of(u64 first, u64 numel, F body) {
#pragma unroll
  for (int j = 0; j < AT_ONCE; ++j) {
    const u64 i = first + j * THREADS + threadIdx.x;
    if (i < numel) body(j, i);
  }
}

// turn(first) for the runs of THREADS * AT_ONCE elements of this block.
template <typename F>
__device__ __forceinline__ void each_turn(u64 numel, F turn) {
  const u64 length = THREADS * AT_ONCE;
  for (u64 first = blockIdx.x * length; first < numel; first += gridDim.x * length) turn(first);
}

template <typename T>
__device__ __forceinline__ void gather(const IndexParams& p) {
  const T* x = static_cast<const T*>(p.base.data);
  const i32* index = static_cast<const i32*>(p.index.data);
  T* out = static_cast<T*>(p.x.data);
  const Operand* const operands[2] = {&p.base, &p.index};
  each_turn(p.walk.numel, [&](u64 first) {
    u64 at[AT_ONCE][2];
    i32 entry[AT_ONCE];
    T v[AT_ONCE];
    each_of(first, p.walk.numel, [&](int j, u64 i) { places(p.walk, operands, i, at[j]); });
    each_of(first, p.walk.numel, [&](int j, u64) { entry[j] = index[at[j][1]]; });
    each_of(first, p.walk.numel, [&](int j, u64) {
      v[j] = T{};
      if (check_index(p.bad, p.op, entry[j], p.bound)) v[j] = x[at[j][0] + u64(entry[j]) * p.step];
    });
    each_of(first, p.walk.numel, [&](int j, u64 i) { out[i] = v[j]; });
  });
}

// body(i, to, x, index, k) for this thread's elements whose index is good: where they go, where they and their index lie.
template <typename F>
__device__ __forceinline__ void scattered(const IndexParams& p, F body) {
  const i32* index = static_cast<const i32*>(p.index.data);
  const Operand* const operands[4] = {&p.base, &p.index, &p.x, &p.number};
  each_turn(p.walk.numel, [&](u64 first) {
    u64 at[AT_ONCE][4];
    i32 entry[AT_ONCE];
    each_of(first, p.walk.numel, [&](int j, u64 i) {
      places(p.walk, operands, i, at[j]);
      entry[j] = index[at[j][1]];
    });
    each_of(first, p.walk.numel, [&](int j, u64) {
      if (check_index(p.bad, p.op, entry[j], p.bound))
        body(at[j][0] + u64(entry[j]) * p.step, at[j][2], at[j][1], at[j][3]);
    });
  });
}

// Whole numbers, which wrap.
__device__ __forceinline__ void add_whole(const IndexParams& p) {
  u32* to = static_cast<u32*>(p.base.data);
  const u32* x = static_cast<const u32*>(p.x.data);
  scattered(p, [&](u64 place, u64 from, u64, u64) { atomicAdd(to + place, x[from]); });
}

template <typename T>
__device__ __forceinline__ void add_short(const IndexParams& p) {
  T* to = static_cast<T*>(p.base.data);
  const T* x = static_cast<const T*>(p.x.data);
  const i32* index = static_cast<const i32*>(p.index.data);
  scattered(p, [&](u64 place, u64 from, u64 at, u64 k) {
    bool first = true;
#pragma unroll 1
    for (u64 back = 1; back <= k && first; ++back) first = index[at - back * p.line_step] != index[at];
    if (!first) return;
    T sum = to[place] + x[from];
#pragma unroll 1
    for (u64 on = 1; k + on < p.line; ++on)
      if (index[at + on * p.line_step] == index[at]) sum += x[from + on * p.x_step];
    to[place] = sum;
  });
}

// `sum` and, after it, the elements of x at the entries from j on whose index is `run`, one by one. All lanes of a warp call it
// with one j and one run; x is this lane's column.
template <typename T>
__device__ __forceinline__ T add_run(const SortedParams& p, const i32* order, const i32* index, const T* x, bool inside,
                                     u64 j, i32 run, T sum) {
  constexpr u32 AHEAD = AHEAD_BYTES / sizeof(T);
  const u32 lane = threadIdx.x % WARP, log = p.log_columns, at_once = WARP >> log;
  const u32 entry = lane >> log, column = lane & ((1u << log) - 1);
  // A lane per entry: which one it is, and whether it belongs to the run.
  i32 k = 0;
  const auto look = [&](u64 at) {
    if (at >= p.line) return false;
    k = order[at];
    return index[u64(k) * p.line_step] == run;
  };
  bool same = look(j + lane);
  while (true) {
    const u32 others = ~__ballot_sync(FULL_WARP, same), count = others == 0 ? WARP : __ffs(int(others)) - 1;
    const i32 of_lane = k;
    j += WARP;
    same = count == WARP && look(j + lane);  // under way while these are added
#pragma unroll 1
    for (u32 first = 0; first < count; first += AHEAD * at_once) {
      T v[AHEAD];
#pragma unroll
      for (u32 n = 0; n < AHEAD; ++n) {
        const u32 e = first + n * at_once + entry;
        const u64 from = u64(__shfl_sync(FULL_WARP, of_lane, int(e % WARP))) * p.x_step;
        v[n] = T(0);
        if (e < count && inside) v[n] = x[from];
      }
#pragma unroll
      for (u32 n = 0; n < AHEAD; ++n) {
        const u32 done = first + n * at_once;
        const u32 here = done < count ? smaller_of(count - done, at_once) : 0;
#pragma unroll 1
        for (u32 e = 0; e < here; ++e) sum += __shfl_sync(FULL_WARP, v[n], int(e << log | column));
      }
    }
    if (count < WARP) return sum;
  }
}

template <typename T>
__device__ __forceinline__ void add_sorted(const SortedParams& p) {
  const u32 lane = threadIdx.x % WARP, log = p.log_columns, at_once = WARP >> log;
  const u32 entry = lane >> log, column_of_lane = lane & ((1u << log) - 1);
  for (u64 task = thread_index() / WARP; task < p.tasks; task += thread_count() / WARP) {
    const u64 tile_of_all = task / p.groups, line = tile_of_all / p.tiles;
    const u64 column = ((task - tile_of_all * p.groups) << log) + column_of_lane;
    const u64 first = (tile_of_all - line * p.tiles) * at_once, j = first + entry;
    const bool inside = column < p.columns.numel;
    const i32* order = p.order + line * p.line;
    const i32* index = static_cast<const i32*>(p.index.data) + place(p.lines, p.index.strides, line);
    // This lane's entry, its index, and the index before it: where they differ a run begins.
    i32 k = 0, i = 0;
    if (j < p.line) {
      k = order[j];
      i = index[u64(k) * p.line_step];
    }
    i32 before = __shfl_sync(FULL_WARP, i, int((lane - (1u << log)) % WARP));
    if (entry == 0 && first > 0) before = index[u64(order[first - 1]) * p.line_step];
    const bool begins = j < p.line && (j == 0 || before != i);
    const u32 beginning = __ballot_sync(FULL_WARP, begins);
    if (beginning == 0) continue;
    const u64 aside = inside ? column : 0;
    const T* x = static_cast<const T*>(p.x.data) + place(p.lines, p.x.strides, line) +
                 place(p.columns, p.x_column.strides, aside);
    T* to = static_cast<T*>(p.to.data) + place(p.lines, p.to.strides, line) + place(p.columns, p.to_column.strides, aside);
    T v = T(0), sum = T(0);
    if (j < p.line && inside) v = x[u64(k) * p.x_step];
    const bool good = begins && check_index(p.bad, p.op, i, p.bound);
    if (good && inside) sum = to[u64(i) * p.step] + v;
    // The rest of the run, as far as the tile goes.
    bool goes_on = good;
#pragma unroll 1
    for (u32 e = 1; e < at_once; ++e) {
      const int from = int((lane + (e << log)) % WARP);
      const T next = __shfl_sync(FULL_WARP, v, from);
      const i32 its = __shfl_sync(FULL_WARP, i, from);
      goes_on = goes_on && entry + e < at_once && j + e < p.line && its == i;
      if (!__any_sync(FULL_WARP, goes_on)) break;
      if (goes_on) sum += next;
    }
    // The last run of the tile may go on behind it.
    const u32 owner = (WARP - 1 - __clz(int(beginning))) >> log;
    const i32 run = __shfl_sync(FULL_WARP, i, int(owner << log));
    if (first + at_once < p.line && __shfl_sync(FULL_WARP, int(good), int(owner << log))) {
      const T so_far = __shfl_sync(FULL_WARP, sum, int(owner << log | column_of_lane));
      const T whole = add_run(p, order, index, x, inside, first + at_once, run, so_far);
      if (entry == owner) sum = whole;
    }
    if (good && inside) to[u64(i) * p.step] = sum;
  }
}

template <typename T>
__device__ __forceinline__ void set(const IndexParams& p) {
  T* to = static_cast<T*>(p.base.data);
  const T* x = static_cast<const T*>(p.x.data);
  const i32* index = static_cast<const i32*>(p.index.data);
  scattered(p, [&](u64 place, u64 from, u64 at, u64 k) {
    bool last = true;
#pragma unroll 1
    for (u64 later = k + 1; later < p.line && last; ++later)
      last = index[at + (later - k) * p.line_step] != index[at];
    if (last) to[place] = x[from];
  });
}

template <typename T>
__device__ __forceinline__ void settle(const IndexParams& p) {
  T* to = static_cast<T*>(p.base.data);
  const T* x = static_cast<const T*>(p.x.data);
  scattered(p, [&](u64 place, u64 from, u64, u64 k) {
    if (p.winners[place] == u32(k) + 1) to[place] = x[from];
  });
}

#define INDEX(name) extern "C" __global__ void __launch_bounds__(THREADS) name(const __grid_constant__ IndexParams p)
#define MOVES(bytes, T)                   \
  INDEX(index_gather_##bytes) { gather<T>(p); } \
  INDEX(index_set_##bytes) { set<T>(p); }       \
  INDEX(index_settle_##bytes) { settle<T>(p); }
MOVES(1, u8)
MOVES(4, u32)
MOVES(8, u64)
MOVES(16, Bytes16)

INDEX(index_add_i32) { add_whole(p); }
INDEX(index_add_short_f32) { add_short<float>(p); }
INDEX(index_add_short_f64) { add_short<double>(p); }
#define SORTED(name) extern "C" __global__ void __launch_bounds__(THREADS) name(const __grid_constant__ SortedParams p)
SORTED(index_add_sorted_f32) { add_sorted<float>(p); }
SORTED(index_add_sorted_f64) { add_sorted<double>(p); }

INDEX(index_clear) {
  scattered(p, [&](u64 place, u64, u64, u64) { p.winners[place] = 0; });
}
INDEX(index_elect) {
  scattered(p, [&](u64 place, u64, u64, u64 k) { atomicMax(p.winners + place, u32(k) + 1); });
}
