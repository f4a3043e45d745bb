// Reading and writing at indices that another tensor holds.
//
//   index_gather_BYTES    out[i] = x[base(i) + step index[i]]
//   index_add_TYPE        to[base(i) + step index[i]] += x[i]      by atomics: the sum's order may vary
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
// An index outside 0..bound skips the access (what is read is 0) and is recorded. Launch: blocks of 256 threads, four elements
// per thread and turn, 256 apart, so that a warp's accesses are of neighbours and four are under way at once. Cost: the index,
// one read and one write per element; for long lines set reads the index three times and moves two numbers more.
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
  // Entries of a line: of the index along the dimension; and elements between them in the index.
  u64 line;
  u64 line_step;
  // As many as the whole of what is indexed has elements.
  u32* winners;
  BadIndex* bad;
  // `IndexedOp` in device.rs.
  u32 op;
  u32 unused;
};

#define AT_ONCE 4

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

__device__ __forceinline__ void add_to(float* to, float x) { atomicAdd(to, x); }
__device__ __forceinline__ void add_to(double* to, double x) { atomicAdd(to, x); }
__device__ __forceinline__ void add_to(i32* to, i32 x) { atomicAdd(reinterpret_cast<u32*>(to), u32(x)); }  // wraps

template <typename T>
__device__ __forceinline__ void add(const IndexParams& p) {
  T* to = static_cast<T*>(p.base.data);
  const T* x = static_cast<const T*>(p.x.data);
  scattered(p, [&](u64 place, u64 from, u64, u64) { add_to(to + place, x[from]); });
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

INDEX(index_add_f32) { add<float>(p); }
INDEX(index_add_f64) { add<double>(p); }
INDEX(index_add_i32) { add<i32>(p); }

INDEX(index_clear) {
  scattered(p, [&](u64 place, u64, u64, u64) { p.winners[place] = 0; });
}
INDEX(index_elect) {
  scattered(p, [&](u64 place, u64, u64, u64 k) { atomicMax(p.winners + place, u32(k) + 1); });
}
