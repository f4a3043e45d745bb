// Random elements, and dropout.
//
//   random_bits_i32      out[i] = bits[i]
//   random_uniform_TYPE  out[i] = (bits[i] >> 8) 2^-24, uniform in [0, 1), the same number for float and double
//   random_keep_bool     out[i] = bits[i] >= threshold
//   random_dropout_TYPE  out[i] = bits[i] >= threshold ? x[i] scale : 0. A selection, so a dropped NaN or infinity is 0
//
// bits[i] are the 32 random bits of element i, counted in row-major order whatever the layout of x. Launch: a grid-stride loop of
// blocks of 256 threads; a thread takes four elements, one Philox block, per iteration. Cost: one write per element, one read of
// x, and about 25 instructions of Philox. Overwrites out.
// Budget: 64 registers, 0 bytes of shared memory.
#include "elementwise.cuh"
#include "philox.cuh"

// Mirrors `RandomParams` in random.rs.
struct RandomParams {
  Walk walk;
  // Contiguous, of the walk's shape.
  TensorRef out;
  // The input of dropout, of the walk's shape.
  TensorRef x;
  u64 seed;
  u64 draw;
  // A 32-bit number, or 2^32, with which every element is dropped.
  u64 threshold;
  double scale;
};

template <typename R, typename F>
__device__ __forceinline__ void draw(const RandomParams& p, F f) {
  each_four(p.walk.numel, [&](u64 i, int count) {
    u32 words[4];
    R r[4];
    philox(p.seed, p.draw, i / 4, words);
#pragma unroll
    for (int k = 0; k < 4; ++k) r[k] = f(words[k]);
    store<R>(p.walk, p.out, i, count, r);
  });
}

template <typename T>
__device__ __forceinline__ void dropout(const RandomParams& p) {
  const T scale = T(p.scale);
  each_four(p.walk.numel, [&](u64 i, int count) {
    u32 words[4];
    T v[4] = {};
    load<T>(p.walk, p.x, i, count, v);
    philox(p.seed, p.draw, i / 4, words);
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = u64(words[k]) >= p.threshold ? v[k] * scale : T(0);
    store<T>(p.walk, p.out, i, count, v);
  });
}

#define RANDOM(name) KERNEL(random_##name, RandomParams, THREADS)

RANDOM(bits_i32) {
  draw<i32>(p, [](u32 bits) -> i32 { return i32(bits); });
}
RANDOM(uniform_f32) {
  draw<float>(p, [](u32 bits) -> float { return float(bits >> 8) * (1.0f / 16777216.0f); });
}
RANDOM(uniform_f64) {
  draw<double>(p, [](u32 bits) -> double { return double(bits >> 8) * (1.0 / 16777216.0); });
}
RANDOM(keep_bool) {
  const u64 threshold = p.threshold;
  draw<u8>(p, [=](u32 bits) -> u8 { return u64(bits) >= threshold; });
}
RANDOM(dropout_f32) { dropout<float>(p); }
RANDOM(dropout_f64) { dropout<double>(p); }
