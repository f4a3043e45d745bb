// Included by every kernel file: types, math functions overloaded for float and double, strided tensors, warp and block
// reductions, and the record of an out-of-range index.
//
// NVRTC compiles this source for a GPU, and a C++ compiler compiles it for the emulator. Neither provides standard headers here,
// so kernels include files of this folder only.
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

// The maximum rank of a tensor.
#define MAX_RANK 6

// Threads of a block, unless a kernel's header states another number.
#define THREADS 256

// The head of a kernel, which takes one struct of parameters p; after its type come the arguments of __launch_bounds__.
#define KERNEL(name, Params, ...) \
  extern "C" __global__ void __launch_bounds__(__VA_ARGS__) name(const __grid_constant__ Params p)

// ---- math functions, overloaded for float and double ----

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

// NaN if either is NaN. For bool, maximum is "or" and minimum is "and".
template <typename T>
__device__ __forceinline__ T maximum(T a, T b) { return a > b || a != a ? a : b; }
template <typename T>
__device__ __forceinline__ T minimum(T a, T b) { return a < b || a != a ? a : b; }

// i32 wraps: signed overflow is undefined in C++, so it computes as u32.
template <typename T>
__device__ __forceinline__ T sum_of(T a, T b) { return a + b; }
__device__ __forceinline__ i32 sum_of(i32 a, i32 b) { return i32(u32(a) + u32(b)); }
template <typename T>
__device__ __forceinline__ T product_of(T a, T b) { return a * b; }
__device__ __forceinline__ i32 product_of(i32 a, i32 b) { return i32(u32(a) * u32(b)); }

// relu, and its gradient as a function of the output y. NaN propagates; at a NaN y the gradient is g. RELU is the code of the
// activation in an epilogue; 0 stands for none.
#define RELU 1
template <typename T>
__device__ __forceinline__ T relu_of(T x) { return x < T(0) ? T(0) : x; }
template <typename T>
__device__ __forceinline__ T relu_grad(T g, T y) { return y <= T(0) ? T(0) : g; }

template <typename T>
__device__ __forceinline__ T smaller_of(T a, T b) { return a < b ? a : b; }

// ---- strided tensors ----

// A divisor, for division by multiplication: x / size == (__umulhi(x, magic) + x) >> shift for x < 2^31. Mirrors `Divisor` in
// params.rs.
struct Divisor {
  u32 size;
  u32 magic;
  u32 shift;
  u32 unused;
};

__device__ __forceinline__ u32 divide(const Divisor& by, u32 x) { return (__umulhi(x, by.magic) + x) >> by.shift; }

// A shape, for the conversion of a flat row-major index into coordinates. Mirrors `Walk` in params.rs.
struct Walk {
  u64 numel;
  u64 sizes[MAX_RANK];
  // Divisors of the sizes; see Divisor.
  u32 magics[MAX_RANK];
  u32 shifts[MAX_RANK];
  u32 rank;
  // Whether numel is 2^31 or more, beyond the range of division by multiplication.
  u32 wide;
};

// A tensor's address and its strides, in elements, along the dimensions of a Walk. Mirrors `TensorRef` in params.rs.
struct TensorRef {
  // The first element.
  void* data;
  u64 strides[MAX_RANK];
  // STRIDED; CONTIGUOUS: row-major without gaps; PACKED: contiguous and aligned for packs of four.
  u32 order;
  u32 unused;
};
#define STRIDED 0
#define CONTIGUOUS 1
#define PACKED 2

// x / walk.sizes[d]
__device__ __forceinline__ u64 divide(const Walk& walk, int d, u64 x) {
  return walk.wide ? x / walk.sizes[d] : (__umulhi(u32(x), walk.magics[d]) + u32(x)) >> walk.shifts[d];
}

// The offset of element i of a walk along these strides. The loops are not unrolled, as their code would dominate the size of
// every kernel.
__device__ __forceinline__ u64 offset_of(const Walk& walk, const u64 (&strides)[MAX_RANK], u64 i) {
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

__device__ __forceinline__ u64 offset_of(const Walk& walk, const TensorRef& x, u64 i) {
  return x.order == STRIDED ? offset_of(walk, x.strides, i) : i;
}

// Four adjacent elements, loaded and stored in as few instructions as possible. An instruction moves at most 16 bytes.
template <typename T>
struct __align__(sizeof(T) * 4 > 16 ? 16 : sizeof(T) * 4) Pack {
  T v[4];
};

// The index of this thread in the grid, and the number of threads.
__device__ __forceinline__ u64 thread_index() { return u64(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u64 thread_count() { return u64(gridDim.x) * blockDim.x; }

// ---- warps and blocks ----

#define WARP 32
#define FULL_WARP 0xffffffffu

// The reduction of a warp's values by `op`, in every lane, in a fixed order. All 32 lanes call it.
template <typename T, typename Op>
__device__ __forceinline__ T warp_reduce(T v, Op op) {
#pragma unroll
  for (int lane = WARP / 2; lane > 0; lane /= 2) v = op(v, __shfl_xor_sync(FULL_WARP, v, lane));
  return v;
}

// The value of the lane whose number differs in the bits of `lanes`. Overloaded for structs.
template <typename T>
__device__ __forceinline__ T exchange(T v, u32 lanes) { return __shfl_xor_sync(FULL_WARP, v, lanes); }

// As warp_reduce over a team: 2^k adjacent lanes. For structs too.
template <typename T, typename Op>
__device__ __forceinline__ T team_reduce(T v, u32 team, Op op) {
#pragma unroll 1
  for (u32 d = team / 2; d > 0; d /= 2) v = op(v, exchange(v, d));
  return v;
}

// As block_reduce of a one-dimensional block, for structs and an `op` of many instructions.
template <int COUNT, typename T, typename Op>
__device__ __forceinline__ T block_merge(T v, Op op) {
  constexpr int WARPS = COUNT / WARP;
  __shared__ T partial[WARPS];
  v = team_reduce(v, WARP, op);
  if (threadIdx.x % WARP == 0) partial[threadIdx.x / WARP] = v;
  __syncthreads();
  v = partial[threadIdx.x % WARPS];
  __syncthreads();  // a second call writes `partial` again
  return team_reduce(v, WARPS, op);
}

// The reduction of a block of THREADS threads by columns: of the threads with equal numbers modulo `width`, a power of two. The
// results are in the first `width` threads.
template <typename T, typename Op>
__device__ __forceinline__ T column_merge(T v, u32 width, Op op) {
  __shared__ T values[THREADS];
  values[threadIdx.x] = v;
  __syncthreads();
#pragma unroll 1
  for (u32 half = THREADS / 2; half >= width; half /= 2) {
    if (threadIdx.x < half) values[threadIdx.x] = v = op(v, values[threadIdx.x + half]);
    __syncthreads();
  }
  return v;
}

// The reduction of the values of a block of COUNT threads, a multiple of 32, by `op`, in every thread. `identity` is op's
// identity.
template <int COUNT, typename T, typename Op>
__device__ __forceinline__ T block_reduce(T v, T identity, Op op) {
  constexpr int WARPS = COUNT / WARP;
  __shared__ T partial[WARPS];
  const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  v = warp_reduce(v, op);
  if (thread % WARP == 0) partial[thread / WARP] = v;
  __syncthreads();
  v = thread % WARP < WARPS ? partial[thread % WARP] : identity;
  v = warp_reduce(v, op);
  __syncthreads();  // a second call writes `partial` again
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

// Returns true in all threads of the last of `count` blocks to call it, and false in the others. The last block sees what the
// others wrote before their calls. The counter is 0 before and after. So a long reduction is a single launch: each block writes a
// partial result, and the last block combines them in a fixed order, whichever block that is.
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

// ---- out-of-range indices ----

// The first out-of-range index since the record was last read. Mirrors `BadIndex` in state.rs.
struct BadIndex {
  // The id of the operation's `Caller`; 0 if there is no such index.
  u32 caller;
  i32 index;
  u64 bound;
};

// Whether an index lies in 0..bound. If not, it is recorded, and the caller skips the access.
__device__ __forceinline__ bool check_index(BadIndex* record, u32 caller, i32 index, u64 bound) {
  if (index >= 0 && u64(index) < bound) return true;
  if (atomicCAS(&record->caller, 0u, caller) == 0) {
    record->index = index;
    record->bound = bound;
  }
  return false;
}
