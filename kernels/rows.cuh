// Rows in the registers of a team: 2^k adjacent lanes of a warp.
#pragma once
#include "common.cuh"

// Threads of a block that has a row to itself.
#define LONG 512

// Loads and stores a lane's part of a row of n <= team * ITEMS elements: every team-th pack of four if `packed`, or else every
// team-th element. Elements beyond the row are `fill`.
template <typename T, int ITEMS>
__device__ __forceinline__ void load_part(const T* x, u32 n, bool packed, u32 lane, u32 team, T fill,
                                          T (&v)[ITEMS]) {
#pragma unroll
  for (int j = 0; j < ITEMS / 4; ++j) {
#pragma unroll
    for (int k = 0; k < 4; ++k) v[4 * j + k] = fill;
    if (packed) {
      const u32 at = 4 * (j * team + lane);
      if (at < n) {
        const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(x + at);
#pragma unroll
        for (int k = 0; k < 4; ++k) v[4 * j + k] = pack.v[k];
      }
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if ((4 * j + k) * team + lane < n) v[4 * j + k] = x[(4 * j + k) * team + lane];
    }
  }
}
template <typename T, int ITEMS>
__device__ __forceinline__ void store_part(T* x, u32 n, bool packed, u32 lane, u32 team,
                                           const T (&v)[ITEMS]) {
#pragma unroll
  for (int j = 0; j < ITEMS / 4; ++j) {
    if (packed) {
      const u32 at = 4 * (j * team + lane);
      if (at < n) {
        Pack<T> pack;
#pragma unroll
        for (int k = 0; k < 4; ++k) pack.v[k] = v[4 * j + k];
        *reinterpret_cast<Pack<T>*>(x + at) = pack;
      }
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if ((4 * j + k) * team + lane < n) x[(4 * j + k) * team + lane] = v[4 * j + k];
    }
  }
}

// The index in the row of element i of a lane's part.
template <int ITEMS>
__device__ __forceinline__ u32 part_index(int i, bool packed, u32 lane, u32 team) {
  return packed ? 4 * (i / 4 * team + lane) + i % 4 : i * team + lane;
}
