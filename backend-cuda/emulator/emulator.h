// NVRTC's built-in declarations for a C++ compiler, as far as the kernels use them: qualifiers, barriers, warp functions, atomics.
// Math functions are in maths.h. __global__ and __shared__ are no macros; rewrite.rs replaces them.
#pragma once
#include "runtime.h"

#define __device__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))

#define threadIdx (emulator::context.thread)
#define blockIdx (emulator::context.block)
#define blockDim (emulator::context.block_dim)
#define gridDim (emulator::context.grid_dim)

// Barriers.

#define EMULATED_SITE(call) (emulator::Site{#call, __FILE__, __LINE__, __COUNTER__})
#define __syncthreads() (emulator::barrier(EMULATED_SITE(__syncthreads)))

// Threads run one at a time, so memory is always consistent; emulator::arrive checks the fences.
inline void __threadfence() { emulator::fence(); }

// Warps.

#define __ballot_sync(...) (emulator::vote(EMULATED_SITE(__ballot_sync), __VA_ARGS__))
#define __any_sync(...) ((int)(emulator::vote(EMULATED_SITE(__any_sync), __VA_ARGS__) != 0))
#define __shfl_sync(...) (emulator::shuffle(EMULATED_SITE(__shfl_sync), __VA_ARGS__))
#define __shfl_up_sync(...) (emulator::shuffle_up(EMULATED_SITE(__shfl_up_sync), __VA_ARGS__))
#define __shfl_xor_sync(...) (emulator::shuffle_xor(EMULATED_SITE(__shfl_xor_sync), __VA_ARGS__))

namespace emulator {

// The lanes whose predicate is true.
inline unsigned vote(const Site& site, unsigned mask, int predicate) {
  return exchange(site, mask, predicate != 0, lane()).nonzero;
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

template <class T>
T shuffle(const Site& site, unsigned mask, T value, int source) {
  return fetch(site, mask, value, (unsigned)source % 32);
}
// A source below lane 0 is the lane itself.
template <class T>
T shuffle_up(const Site& site, unsigned mask, T value, unsigned delta) {
  return fetch(site, mask, value, delta > lane() ? lane() : lane() - delta);
}
template <class T>
T shuffle_xor(const Site& site, unsigned mask, T value, unsigned lanes) {
  return fetch(site, mask, value, lane() ^ lanes);
}

}  // namespace emulator

// Atomics: threads run one at a time, so plain reads and writes suffice. Each returns the old value.

inline unsigned atomicMax(unsigned* address, unsigned value) {
  const unsigned old = *address;
  if (value > old) *address = value;
  return old;
}
inline unsigned atomicCAS(unsigned* address, unsigned compare, unsigned value) {
  const unsigned old = *address;
  if (old == compare) *address = value;
  return old;
}
inline unsigned atomicAdd(unsigned* address, unsigned value) {
  if (address >= emulator::context.counters && address < emulator::context.counters_end) emulator::arrive();
  const unsigned old = *address;
  *address = old + value;
  return old;
}

#include "maths.h"
