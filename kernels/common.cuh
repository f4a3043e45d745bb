// What every kernel file begins with: types, the maths that float and double share, places in a strided tensor, what warps
// and blocks do together, and the record of a bad index.
//
// The same text is compiled by NVRTC for a card and by a C++ compiler for the emulator. Neither has headers of a standard
// library here, so nothing is included but files of this folder.
#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fc00000)
#endif

// The rank that a tensor may have.
#define MAX_RANK 6

// Threads of a block of an element-wise kernel.
#define THREADS 256

// ---- the maths that float and double share ----

#define MATH(name)                                                                        \
  __device__ __forceinline__ float name##_of(float x) { return name##f(x); }              \
  __device__ __forceinline__ double name##_of(double x) { return name(x); }
MATH(exp)
MATH(expm1)
MATH(log)
MATH(log1p)
MATH(log2)
MATH(sin)
MATH(cos)
MATH(tan)
MATH(atan)
MATH(sinh)
MATH(cosh)
MATH(tanh)
MATH(erf)
MATH(erfc)
MATH(sqrt)
MATH(floor)
MATH(ceil)
MATH(rint)
MATH(trunc)
MATH(fabs)
#undef MATH

__device__ __forceinline__ float pow_of(float x, float y) { return powf(x, y); }
__device__ __forceinline__ double pow_of(double x, double y) { return pow(x, y); }
__device__ __forceinline__ float fmod_of(float x, float y) { return fmodf(x, y); }
__device__ __forceinline__ double fmod_of(double x, double y) { return fmod(x, y); }
__device__ __forceinline__ float fma_of(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double fma_of(double a, double b, double c) { return fma(a, b, c); }

// The larger or the smaller; NaN if either is NaN. Of bool: or, and.
template <typename T>
__device__ __forceinline__ T maximum(T a, T b) { return a > b || a != a ? a : b; }
template <typename T>
__device__ __forceinline__ T minimum(T a, T b) { return a < b || a != a ? a : b; }

// Sums and products. Whole numbers wrap, which for signed ones C++ leaves undefined.
template <typename T>
__device__ __forceinline__ T sum_of(T a, T b) { return a + b; }
__device__ __forceinline__ i32 sum_of(i32 a, i32 b) { return i32(u32(a) + u32(b)); }
template <typename T>
__device__ __forceinline__ T product_of(T a, T b) { return a * b; }
__device__ __forceinline__ i32 product_of(i32 a, i32 b) { return i32(u32(a) * u32(b)); }

// relu, and its gradient from the result y; a NaN x comes through, and a NaN y lets the gradient through. RELU is the activation
// of a kernel's epilogue, 0 none.
#define RELU 1
template <typename T>
__device__ __forceinline__ T relu_of(T x) { return x < T(0) ? T(0) : x; }
template <typename T>
__device__ __forceinline__ T relu_grad(T g, T y) { return y <= T(0) ? T(0) : g; }

template <typename T>
__device__ __forceinline__ T smaller_of(T a, T b) { return a < b ? a : b; }

// ---- places ----

// A walk over a shape, row-major: how a flat index becomes coordinates. Mirrors `Walk` in params.rs.
struct Walk {
  u64 numel;
  u64 sizes[MAX_RANK];
  // x / sizes[d] == (__umulhi(x, magics[d]) + x) >> shifts[d] for x < 2^31.
  u32 magics[MAX_RANK];
  u32 shifts[MAX_RANK];
  u32 rank;
  // Whether numel is 2^31 or more, where the magic ends.
  u32 wide;
};

// Where a tensor's elements lie along a Walk. Mirrors `Operand` in params.rs.
struct Operand {
  // The first element.
  void* data;
  // Elements between neighbours along each dimension of the walk.
  u64 strides[MAX_RANK];
  // STRIDED, or its elements lie in the walk's order, or so and aligned for packs of four.
  u32 order;
  u32 unused;
};
#define STRIDED 0
#define CONTIGUOUS 1
#define PACKED 2

// The position of element i of a walk, along these strides. Its loops are not unrolled: they would be most of every kernel.
__device__ __forceinline__ u64 place(const Walk& walk, const u64 (&strides)[MAX_RANK], u64 i) {
  u64 at = 0;
  if (walk.wide) {
#pragma unroll 1
    for (int d = int(walk.rank) - 1; d > 0; --d) {
      const u64 rest = i / walk.sizes[d];
      at += (i - rest * walk.sizes[d]) * strides[d];
      i = rest;
    }
  } else {
    u32 x = u32(i);
#pragma unroll 1
    for (int d = int(walk.rank) - 1; d > 0; --d) {
      const u32 rest = (__umulhi(x, walk.magics[d]) + x) >> walk.shifts[d];
      at += u64(x - rest * u32(walk.sizes[d])) * strides[d];
      x = rest;
    }
    i = x;
  }
  return walk.rank == 0 ? 0 : at + i * strides[0];
}

__device__ __forceinline__ u64 place(const Walk& walk, const Operand& x, u64 i) {
  return x.order == STRIDED ? place(walk, x.strides, i) : i;
}

// Four neighbours, moved in as few instructions as their size allows: at most 16 bytes each.
template <typename T>
struct __align__(sizeof(T) * 4 > 16 ? 16 : sizeof(T) * 4) Pack {
  T v[4];
};

// The index of this thread among all of a grid, and their number.
__device__ __forceinline__ u64 thread_index() { return u64(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u64 thread_count() { return u64(gridDim.x) * blockDim.x; }

// ---- warps and blocks ----

#define WARP 32
#define FULL_WARP 0xffffffffu

// `op` over the values of a warp, in every lane; one order on every card. All 32 lanes call it.
template <typename T, typename Op>
__device__ __forceinline__ T warp_reduce(T v, Op op) {
#pragma unroll
  for (int lane = WARP / 2; lane > 0; lane /= 2) v = op(v, __shfl_xor_sync(FULL_WARP, v, lane));
  return v;
}

// `op` over the values of a block of COUNT threads, a multiple of 32, in every thread; x is the fastest dimension.
template <int COUNT, typename T, typename Op>
__device__ __forceinline__ T block_reduce(T v, T nothing, Op op) {
  constexpr int WARPS = COUNT / WARP;
  __shared__ T partial[WARPS];
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  v = warp_reduce(v, op);
  if (thread % WARP == 0) partial[thread / WARP] = v;
  __syncthreads();
  v = thread % WARP < WARPS ? partial[thread % WARP] : nothing;
  v = warp_reduce(v, op);
  __syncthreads();  // before a second call writes `partial` again
  return v;
}

struct Sum {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const { return sum_of(a, b); }
};
struct Maximum {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const { return maximum(a, b); }
};

// True, in all threads, of the block that comes last of `count`: it sees what the others wrote before they called. The
// counter is 0 before and after. So a long reduction is one launch: parts first, and the last block joins them, in an order
// that does not depend on who was last.
__device__ __forceinline__ bool last_block(u32* counter, u32 count) {
  __shared__ u32 before;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
    before = atomicAdd(counter, 1u);
    if (before == count - 1) *counter = 0;
  }
  __syncthreads();
  const bool last = before == count - 1;
  __threadfence();
  return last;
}

// ---- bad indices ----

// The first index that was out of range since the last report. Mirrors `BadIndex` in device.rs.
struct BadIndex {
  // 0, or which operation found it: `IndexedOp` in device.rs.
  u32 op;
  i32 index;
  u64 bound;
};

// Whether an index lies in 0..bound; if not it is recorded and the caller skips the access.
__device__ __forceinline__ bool check_index(BadIndex* record, u32 op, i32 index, u64 bound) {
  if (index >= 0 && u64(index) < bound) return true;
  if (atomicCAS(&record->op, 0u, op) == 0) {
    record->index = index;
    record->bound = bound;
  }
  return false;
}
