// NVRTC's built-in declarations for a C++ compiler: qualifiers, vector types, barriers, warp functions, atomics. Math functions
// are in maths.h. __global__ and __shared__ are no macros; rewrite.rs replaces them.
#pragma once
#include "runtime.h"

#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))

#define threadIdx (emulator::context.thread)
#define blockIdx (emulator::context.block)
#define blockDim (emulator::context.block_dim)
#define gridDim (emulator::context.grid_dim)
#define warpSize 32

// Vector types, with CUDA's alignments.

#define EMULATED_VECTORS(T, type, align2, align4)                                      \
  struct __align__(align2) type##2 { T x, y; };                                        \
  struct __align__(align4) type##4 { T x, y, z, w; };                                  \
  inline type##2 make_##type##2(T x, T y) { return {x, y}; }                           \
  inline type##4 make_##type##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATED_VECTORS(unsigned, uint, 8, 16)
EMULATED_VECTORS(int, int, 8, 16)
EMULATED_VECTORS(float, float, 8, 16)
EMULATED_VECTORS(double, double, 16, 16)
EMULATED_VECTORS(long long, longlong, 16, 16)
EMULATED_VECTORS(unsigned long long, ulonglong, 16, 16)
#undef EMULATED_VECTORS

struct int3 {
  int x, y, z;
};
struct float3 {
  float x, y, z;
};
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }

// Barriers.

#define EMULATED_SITE(call) (emulator::Site{#call, __FILE__, __LINE__, __COUNTER__})
#define __syncthreads() ((void)emulator::barrier(EMULATED_SITE(__syncthreads), false))
#define __syncthreads_count(p) ((int)emulator::barrier(EMULATED_SITE(__syncthreads_count), (p) != 0))
#define __syncthreads_or(p) ((int)(emulator::barrier(EMULATED_SITE(__syncthreads_or), (p) != 0) != 0))
#define __syncthreads_and(p) ((int)(emulator::barrier(EMULATED_SITE(__syncthreads_and), (p) == 0) == 0))

// Threads run one at a time, so memory is always consistent; emulator::arrive checks the fences.
inline void __threadfence() { emulator::fence(); }
inline void __threadfence_block() {}
inline void __threadfence_system() { emulator::fence(); }

// Warps.

#define __syncwarp(...) (emulator::sync_warp(EMULATED_SITE(__syncwarp) __VA_OPT__(, ) __VA_ARGS__))
#define __ballot_sync(...) (emulator::vote(EMULATED_SITE(__ballot_sync), __VA_ARGS__).nonzero)
#define __any_sync(...) ((int)emulator::any(EMULATED_SITE(__any_sync), __VA_ARGS__))
#define __all_sync(...) ((int)emulator::all(EMULATED_SITE(__all_sync), __VA_ARGS__))
#define __shfl_sync(...) (emulator::shuffle(EMULATED_SITE(__shfl_sync), __VA_ARGS__))
#define __shfl_up_sync(...) (emulator::shuffle_up(EMULATED_SITE(__shfl_up_sync), __VA_ARGS__))
#define __shfl_down_sync(...) (emulator::shuffle_down(EMULATED_SITE(__shfl_down_sync), __VA_ARGS__))
#define __shfl_xor_sync(...) (emulator::shuffle_xor(EMULATED_SITE(__shfl_xor_sync), __VA_ARGS__))

namespace emulator {

inline void sync_warp(const Site& site, unsigned mask = 0xffffffffu) { exchange(site, mask, 0, lane()); }

inline Exchange vote(const Site& site, unsigned mask, int predicate) {
  return exchange(site, mask, predicate != 0, lane());
}
inline bool any(const Site& site, unsigned mask, int predicate) { return vote(site, mask, predicate).nonzero != 0; }
inline bool all(const Site& site, unsigned mask, int predicate) {
  const Exchange result = vote(site, mask, predicate);
  return result.nonzero == result.lanes;
}

template <class T>
T fetch(const Site& site, unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
  unsigned long long bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = exchange(site, mask, bits, source).value;
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}

// The warp is split into segments of `width` lanes. A source beyond the segment is the lane itself.
template <class T>
T shuffle(const Site& site, unsigned mask, T value, int source, int width = 32) {
  const unsigned low = width - 1;
  return fetch(site, mask, value, (lane() & ~low) | ((unsigned)source & low));
}
template <class T>
T shuffle_up(const Site& site, unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned within = lane() & (width - 1);
  return fetch(site, mask, value, delta > within ? lane() : lane() - delta);
}
template <class T>
T shuffle_down(const Site& site, unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned within = lane() & (width - 1);
  return fetch(site, mask, value, delta >= width - within ? lane() : lane() + delta);
}
template <class T>
T shuffle_xor(const Site& site, unsigned mask, T value, int lanes, int width = 32) {
  const unsigned source = lane() ^ (unsigned)lanes, last = lane() | (width - 1);
  return fetch(site, mask, value, source > last ? lane() : source);
}

}  // namespace emulator

// Atomics: threads run one at a time, so plain reads and writes suffice. Each returns the old value.

#define EMULATED_ATOMIC(name, T, result)     \
  inline T name(T* address, T value) {       \
    const T old = *address;                  \
    *address = (result);                     \
    return old;                              \
  }
#define EMULATED_ATOMIC_CAS(T)                           \
  inline T atomicCAS(T* address, T compare, T value) {   \
    const T old = *address;                              \
    if (old == compare) *address = value;                \
    return old;                                          \
  }
#define EMULATED_ATOMICS(T)                                      \
  EMULATED_ATOMIC(atomicMin, T, value < old ? value : old)       \
  EMULATED_ATOMIC(atomicMax, T, value > old ? value : old)       \
  EMULATED_ATOMIC(atomicExch, T, value)                          \
  EMULATED_ATOMIC(atomicAnd, T, old & value)                     \
  EMULATED_ATOMIC(atomicOr, T, old | value)                      \
  EMULATED_ATOMIC(atomicXor, T, old ^ value)                     \
  EMULATED_ATOMIC_CAS(T)

// CUDA has no atomicAdd for signed 64-bit integers.
EMULATED_ATOMICS(unsigned)
EMULATED_ATOMICS(unsigned long long)
EMULATED_ATOMIC(atomicAdd, unsigned long long, old + value)
EMULATED_ATOMIC(atomicAdd, int, (int)((unsigned)old + (unsigned)value))
EMULATED_ATOMIC(atomicSub, int, (int)((unsigned)old - (unsigned)value))
EMULATED_ATOMIC(atomicMin, int, value < old ? value : old)
EMULATED_ATOMIC(atomicMax, int, value > old ? value : old)
EMULATED_ATOMIC(atomicExch, int, value)
EMULATED_ATOMIC(atomicAnd, int, old & value)
EMULATED_ATOMIC(atomicOr, int, old | value)
EMULATED_ATOMIC(atomicXor, int, old ^ value)
EMULATED_ATOMIC_CAS(int)
EMULATED_ATOMIC(atomicSub, unsigned, old - value)
EMULATED_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
EMULATED_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)
EMULATED_ATOMIC(atomicMin, long long, value < old ? value : old)
EMULATED_ATOMIC(atomicMax, long long, value > old ? value : old)
EMULATED_ATOMIC(atomicAdd, float, old + value)
EMULATED_ATOMIC(atomicExch, float, value)
EMULATED_ATOMIC(atomicAdd, double, old + value)
#undef EMULATED_ATOMICS
#undef EMULATED_ATOMIC_CAS
#undef EMULATED_ATOMIC

inline unsigned atomicAdd(unsigned* address, unsigned value) {
  if (address >= emulator::context.counters && address < emulator::context.counters_end) emulator::arrive();
  const unsigned old = *address;
  *address = old + value;
  return old;
}

template <class T>
T __ldg(const T* address) {
  return *address;
}

// Library functions that device code has without headers.
extern "C" {
void* memcpy(void* to, const void* from, size_t bytes) noexcept;
void* memset(void* to, int value, size_t bytes) noexcept;
int printf(const char* format, ...);
}

#include "maths.h"
