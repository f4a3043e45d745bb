// The random numbers of core/src/random.rs, bit for bit: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011). Element i of a draw is word i % 4 of the block with key = seed and
// counter = (draw, i / 4), low words first.
#pragma once
#include "common.cuh"

// The four words of one block: ten rounds over a 128-bit counter with a 64-bit key.
__device__ __forceinline__ void philox(u64 seed, u64 draw, u64 block, u32 (&words)[4]) {
  u32 key0 = u32(seed), key1 = u32(seed >> 32);
  u32 c0 = u32(draw), c1 = u32(draw >> 32), c2 = u32(block), c3 = u32(block >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const u64 a = u64(0xD2511F53u) * c0;
    const u64 b = u64(0xCD9E8D57u) * c2;
    c0 = u32(b >> 32) ^ c1 ^ key0;
    c1 = u32(b);
    c2 = u32(a >> 32) ^ c3 ^ key1;
    c3 = u32(a);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}
