// Reductions over any set of dimensions, and arg-reductions.
//
//   out[o] = finalize(combine over r of x[offset_of(kept, o) + offset_of(reduced, r)])
//
//   reduce_rows_OP_TYPE     2^team_log lanes of a warp per output, for many short rows
//   reduce_long_OP_TYPE     a block of 256 threads per output and chunk, for long rows: grid [outputs, chunks]
//   reduce_columns_OP_TYPE  a block per 2^width_log adjacent outputs and chunk; 256 / 2^width_log threads share an output:
//                           grid [groups of outputs, chunks]
//
// OP is sum (with a divisor: mean), prod, max, min, argmax or argmin. The last two return the index (I32) of the extreme; ties go
// to the lowest index, and NaN comes before all numbers. Sums and products of f32 are accumulated in f64, so the result is almost
// always the exact one rounded once, without intermediate overflow or underflow. With several chunks each block stores a partial
// result, and the last block of an output combines them in order, in the same launch. Cost: one read per element, 16 bytes at a
// time if rows are contiguous. Overwrites out.
// Budget: 64 registers, 4112 bytes of shared memory.
#include "common.cuh"

// Mirrors `ReduceParams` in reduce.rs.
struct ReduceParams {
  Walk kept;
  Walk reduced;
  u64 kept_strides[MAX_RANK];
  u64 reduced_strides[MAX_RANK];
  const void* x;    // the first element
  void* out;        // [kept]
  void* partial;    // [kept][chunks], 16 bytes each
  u32* counters;    // one per block of the grid's x, if there are several chunks
  double divisor;   // of a sum
  u64 chunk;        // reduced elements per chunk: a multiple of 4
  u32 order;        // of the reduced elements: STRIDED, CONTIGUOUS, or PACKED: elements 4 i .. 4 i + 4 are an aligned pack
  u32 team_log;
  u32 width_log;
  u32 unused;
};

// ---- the operations: identity, add one element, combine two accumulators, finalize ----

template <typename T, typename A>
struct SumFold {
  typedef T Element;
  typedef T Result;
  typedef A Acc;
  static __device__ __forceinline__ A identity() { return A(0); }
  static __device__ __forceinline__ A add(A a, T x, u32) { return sum_of(a, A(x)); }
  static __device__ __forceinline__ A combine(A a, A b) { return sum_of(a, b); }
  static __device__ __forceinline__ T finalize(A a, double divisor) { return T(a / A(divisor)); }
};
template <>
__device__ __forceinline__ i32 SumFold<i32, i32>::finalize(i32 a, double) { return a; }

template <typename T, typename A>
struct ProdFold {
  typedef T Element;
  typedef T Result;
  typedef A Acc;
  static __device__ __forceinline__ A identity() { return A(1); }
  static __device__ __forceinline__ A add(A a, T x, u32) { return product_of(a, A(x)); }
  static __device__ __forceinline__ A combine(A a, A b) { return product_of(a, b); }
  static __device__ __forceinline__ T finalize(A a, double) { return T(a); }
};

// The identities of max and min. Bool is reduced as u32.
template <typename T>
__device__ __forceinline__ T lowest();
template <>
__device__ __forceinline__ float lowest() { return -INFINITY; }
template <>
__device__ __forceinline__ double lowest() { return -INFINITY; }
template <>
__device__ __forceinline__ i32 lowest() { return -2147483647 - 1; }
template <>
__device__ __forceinline__ u32 lowest() { return 0; }
template <typename T>
__device__ __forceinline__ T highest();
template <>
__device__ __forceinline__ float highest() { return INFINITY; }
template <>
__device__ __forceinline__ double highest() { return INFINITY; }
template <>
__device__ __forceinline__ i32 highest() { return 2147483647; }
template <>
__device__ __forceinline__ u32 highest() { return 1; }

template <typename T, typename A>
struct MaxFold {
  typedef T Element;
  typedef T Result;
  typedef A Acc;
  static __device__ __forceinline__ A identity() { return lowest<A>(); }
  static __device__ __forceinline__ A add(A a, T x, u32) { return maximum(a, A(x)); }
  static __device__ __forceinline__ A combine(A a, A b) { return maximum(a, b); }
  static __device__ __forceinline__ T finalize(A a, double) { return T(a); }
};

template <typename T, typename A>
struct MinFold {
  typedef T Element;
  typedef T Result;
  typedef A Acc;
  static __device__ __forceinline__ A identity() { return highest<A>(); }
  static __device__ __forceinline__ A add(A a, T x, u32) { return minimum(a, A(x)); }
  static __device__ __forceinline__ A combine(A a, A b) { return minimum(a, b); }
  static __device__ __forceinline__ T finalize(A a, double) { return T(a); }
};

template <typename T>
struct Indexed {
  T value;
  u32 index;
};

// Whether a is preferred to b: NaN before numbers, then by value, ties by index. It is a total order, so the result does not
// depend on the order of combination.
template <bool LARGEST, typename T>
__device__ __forceinline__ bool before(Indexed<T> a, Indexed<T> b) {
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  if (a_nan != b_nan) return a_nan;
  if (a_nan || a.value == b.value) return a.index < b.index;
  return LARGEST ? a.value > b.value : a.value < b.value;
}

template <typename T, bool LARGEST>
struct ArgFold {
  typedef T Element;
  typedef i32 Result;
  typedef Indexed<T> Acc;
  // With the largest index, so that an element of the same value is preferred.
  static __device__ __forceinline__ Acc identity() { return {LARGEST ? lowest<T>() : highest<T>(), 0xffffffffu}; }
  static __device__ __forceinline__ Acc combine(Acc a, Acc b) { return before<LARGEST>(b, a) ? b : a; }
  static __device__ __forceinline__ Acc add(Acc a, T x, u32 i) { return combine(a, Acc{x, i}); }
  static __device__ __forceinline__ i32 finalize(Acc a, double) { return i32(a.index); }
};

template <typename T>
__device__ __forceinline__ Indexed<T> exchange(Indexed<T> v, u32 lane) {
  return {__shfl_xor_sync(FULL_WARP, v.value, lane), __shfl_xor_sync(FULL_WARP, v.index, lane)};
}

// ---- the reduced elements of one output ----

// Reduces every `step`-th of the elements (or packs) first..end, from number `lane` on; x is the output's first element.
template <typename F>
__device__ __forceinline__ typename F::Acc fold(const ReduceParams& p, const typename F::Element* x, u64 first, u64 end,
                                                u32 lane, u32 step) {
  typedef typename F::Element T;
  typename F::Acc a[4] = {F::identity(), F::identity(), F::identity(), F::identity()};
  if (p.order == CONTIGUOUS) {
    // Elements up to the first aligned one, packs, and the remaining elements.
    const u64 count = end - first;
    x += first;
    const u32 to_aligned = u32(0ull - reinterpret_cast<u64>(x) / sizeof(T)) % 4;
    const u64 head = to_aligned < count ? to_aligned : count;
    for (u64 i = lane; i < head; i += step) a[0] = F::add(a[0], x[i], u32(first + i));
    const Pack<T>* packs = reinterpret_cast<const Pack<T>*>(x + head);
    const u64 pack_count = (count - head) / 4;
#pragma unroll 4
    for (u64 i = lane; i < pack_count; i += step) {
      const Pack<T> pack = packs[i];
#pragma unroll
      for (int k = 0; k < 4; ++k) a[k] = F::add(a[k], pack.v[k], u32(first + head + 4 * i + k));
    }
    for (u64 i = head + 4 * pack_count + lane; i < count; i += step) a[1] = F::add(a[1], x[i], u32(first + i));
  } else if (p.order == PACKED) {
#pragma unroll 1
    for (u64 i = first + 4 * u64(lane); i < end; i += 4 * u64(step)) {
      const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(x + offset_of(p.reduced, p.reduced_strides, i));
#pragma unroll
      for (int k = 0; k < 4; ++k) a[k] = F::add(a[k], pack.v[k], u32(i + k));
    }
  } else {
#pragma unroll 1
    for (u64 i = first + lane; i < end; i += step)
      a[0] = F::add(a[0], x[offset_of(p.reduced, p.reduced_strides, i)], u32(i));
  }
  return F::combine(F::combine(a[0], a[1]), F::combine(a[2], a[3]));
}

template <typename F>
__device__ __forceinline__ const typename F::Element* first_of(const ReduceParams& p, u64 output) {
  return static_cast<const typename F::Element*>(p.x) + offset_of(p.kept, p.kept_strides, output);
}

template <typename F>
__device__ __forceinline__ void write_result(const ReduceParams& p, u64 output, typename F::Acc a) {
  static_cast<typename F::Result*>(p.out)[output] = F::finalize(a, p.divisor);
}

// The partial result of a chunk, of at most 16 bytes.
template <typename F>
__device__ __forceinline__ typename F::Acc* partial_of(const ReduceParams& p, u64 output, u32 chunk) {
  return reinterpret_cast<typename F::Acc*>(static_cast<u8*>(p.partial) + (output * gridDim.y + chunk) * 16);
}

__device__ __forceinline__ u64 end_of(const ReduceParams& p, u64 first) {
  return p.reduced.numel - first < p.chunk ? p.reduced.numel : first + p.chunk;
}

template <typename F>
__device__ __forceinline__ void rows(const ReduceParams& p) {
  const u32 team = 1u << p.team_log;
  const u64 output = thread_index() >> p.team_log;
  const u32 lane = threadIdx.x & (team - 1);
  typename F::Acc a = F::identity();
  if (output < p.kept.numel) a = fold<F>(p, first_of<F>(p, output), 0, p.reduced.numel, lane, team);
#pragma unroll 1
  for (u32 d = team / 2; d > 0; d /= 2) a = F::combine(a, exchange(a, d));
  if (lane == 0 && output < p.kept.numel) write_result<F>(p, output, a);
}

// Combines the values of a block, in thread 0.
template <typename F>
__device__ __forceinline__ typename F::Acc block_combine(typename F::Acc a) {
  __shared__ typename F::Acc warps[THREADS / WARP];
#pragma unroll 1
  for (u32 d = WARP / 2; d > 0; d /= 2) a = F::combine(a, exchange(a, d));
  if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = a;
  __syncthreads();
  a = threadIdx.x % WARP < THREADS / WARP ? warps[threadIdx.x % WARP] : F::identity();
#pragma unroll 1
  for (u32 d = THREADS / WARP / 2; d > 0; d /= 2) a = F::combine(a, exchange(a, d));
  __syncthreads();  // a second call writes `warps` again
  return a;
}

template <typename F>
__device__ __forceinline__ void long_row(const ReduceParams& p) {
  const u64 output = blockIdx.x, first = blockIdx.y * p.chunk;
  typename F::Acc a = fold<F>(p, first_of<F>(p, output), first, end_of(p, first), threadIdx.x, THREADS);
  a = block_combine<F>(a);
  if (gridDim.y > 1) {
    if (threadIdx.x == 0) *partial_of<F>(p, output, blockIdx.y) = a;
    if (!last_block(p.counters + blockIdx.x, gridDim.y)) return;
    a = F::identity();
    for (u32 chunk = threadIdx.x; chunk < gridDim.y; chunk += THREADS) a = F::combine(a, *partial_of<F>(p, output, chunk));
    a = block_combine<F>(a);
  }
  if (threadIdx.x == 0) write_result<F>(p, output, a);
}

// Combines the values of the threads that share an output; the result is in the first `width` threads.
template <typename F>
__device__ __forceinline__ typename F::Acc column_combine(typename F::Acc a, u32 width) {
  __shared__ typename F::Acc values[THREADS];
  values[threadIdx.x] = a;
  __syncthreads();
#pragma unroll 1
  for (u32 half = THREADS / 2; half >= width; half /= 2) {
    if (threadIdx.x < half) values[threadIdx.x] = a = F::combine(a, values[threadIdx.x + half]);
    __syncthreads();
  }
  return a;
}

template <typename F>
__device__ __forceinline__ void columns(const ReduceParams& p) {
  typedef typename F::Element T;
  const u32 width = 1u << p.width_log, row = threadIdx.x >> p.width_log, rows = THREADS >> p.width_log;
  const u64 output = u64(blockIdx.x) * width + (threadIdx.x & (width - 1));
  const u64 first = blockIdx.y * p.chunk, end = end_of(p, first);
  const bool exists = output < p.kept.numel;
  typename F::Acc a = F::identity();
  if (exists) {
    const T* x = first_of<F>(p, output);
    if (p.reduced.rank <= 1) {
      const u64 stride = p.reduced_strides[0];
#pragma unroll 4
      for (u64 i = first + row; i < end; i += rows) a = F::add(a, x[i * stride], u32(i));
    } else {
#pragma unroll 1
      for (u64 i = first + row; i < end; i += rows)
        a = F::add(a, x[offset_of(p.reduced, p.reduced_strides, i)], u32(i));
    }
  }
  a = column_combine<F>(a, width);
  if (gridDim.y > 1) {
    if (row == 0 && exists) *partial_of<F>(p, output, blockIdx.y) = a;
    if (!last_block(p.counters + blockIdx.x, gridDim.y)) return;
    a = F::identity();
    if (exists)
      for (u32 chunk = row; chunk < gridDim.y; chunk += rows) a = F::combine(a, *partial_of<F>(p, output, chunk));
    a = column_combine<F>(a, width);
  }
  if (row == 0 && exists) write_result<F>(p, output, a);
}

#define REDUCE(op, suffix, ...)                                                                  \
  KERNEL(reduce_rows_##op##_##suffix, ReduceParams, THREADS) { rows<__VA_ARGS__>(p); }           \
  KERNEL(reduce_long_##op##_##suffix, ReduceParams, THREADS) { long_row<__VA_ARGS__>(p); }       \
  KERNEL(reduce_columns_##op##_##suffix, ReduceParams, THREADS) { columns<__VA_ARGS__>(p); }

REDUCE(sum, f32, SumFold<float, double>)
REDUCE(sum, f64, SumFold<double, double>)
REDUCE(sum, i32, SumFold<i32, i32>)
REDUCE(prod, f32, ProdFold<float, double>)
REDUCE(prod, f64, ProdFold<double, double>)
REDUCE(prod, i32, ProdFold<i32, i32>)
REDUCE(max, f32, MaxFold<float, float>)
REDUCE(max, f64, MaxFold<double, double>)
REDUCE(max, i32, MaxFold<i32, i32>)
REDUCE(max, bool, MaxFold<u8, u32>)
REDUCE(min, f32, MinFold<float, float>)
REDUCE(min, f64, MinFold<double, double>)
REDUCE(min, i32, MinFold<i32, i32>)
REDUCE(min, bool, MinFold<u8, u32>)
REDUCE(argmax, f32, ArgFold<float, true>)
REDUCE(argmax, f64, ArgFold<double, true>)
REDUCE(argmax, i32, ArgFold<i32, true>)
REDUCE(argmin, f32, ArgFold<float, false>)
REDUCE(argmin, f64, ArgFold<double, false>)
REDUCE(argmin, i32, ArgFold<i32, false>)
