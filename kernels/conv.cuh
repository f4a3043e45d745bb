// The parameters of the convolution kernels, and the index arithmetic that they share.
#pragma once
#include "common.cuh"

// Mirrors `ConvParams` in conv.rs. All sizes are below 2^31, and so are `pixels` and channels times taps.
struct ConvParams {
  // x [n, ci, h, w]; for grad_input g [n, co, oh, ow]
  const void* x;
  // w [co, ci / groups, kh, kw]; for grad_weight g
  const void* weight;
  // [co], or null
  const void* bias;
  // y [n, co, oh, ow], gx [n, ci, h, w] or gw [co, ci / groups, kh, kw]
  void* out;
  // The output of a relu, with g's layout: g is masked by it; or null
  const void* mask;
  // [co]: receives the sums of g beside gw; or null
  void* sums;
  // [tiles of all groups, splits, tile + 256], if k is split
  void* partials;
  // [tiles of all groups, 1 + groups of splits], all 0; see gemm_combine_splits
  u32* counters;
  // n oh ow
  u64 pixels;
  u32 n;
  u32 ci;
  u32 co;
  u32 h;
  u32 w;
  u32 oh;
  u32 ow;
  u32 group_in;
  u32 group_out;
  u32 stride_h;
  u32 stride_w;
  u32 pad_h;
  u32 pad_w;
  u32 dil_h;
  u32 dil_w;
  u32 splits;
  // The access mode of the weights; see MatrixLoader.
  u32 w_mode;
  // Of the forward pass: 0 or RELU
  u32 activation;
  // oh ow, ow, kh kw, kw
  Divisor out_plane;
  Divisor out_width;
  Divisor taps;
  Divisor tap_width;
};

// Element i of a gradient, masked by a relu's output if there is one.
template <typename T>
__device__ __forceinline__ T gradient(const void* g, const void* mask, u64 i) {
  const T v = static_cast<const T*>(g)[i];
  return mask ? relu_grad(v, static_cast<const T*>(mask)[i]) : v;
}

// The epilogue of the forward pass, for channel o.
template <typename T>
__device__ __forceinline__ T epilogue(const ConvParams& p, T sum, u64 o) {
  const T v = sum + (p.bias ? static_cast<const T*>(p.bias)[o] : T(0));
  return p.activation == RELU ? relu_of(v) : v;
}

// The coordinates of a flat index over [far, height, width].
__device__ __forceinline__ void split_pixel(const Divisor& plane, const Divisor& width, u32 at, u32& far, u32& row, u32& column) {
  far = divide(plane, at);
  const u32 rest = at - far * plane.size;
  row = divide(width, rest);
  column = rest - row * width.size;
}

// With a stride s, only some taps reach a given input pixel, the same for all pixels with one remainder modulo s: a phase. For the
// pixels of one phase the gradient is a convolution of stride 1.
//
// One axis of it: the input positions first, first + s, .. are reached by the taps tap, tap + tap_step, ..; the y-th of these taps
// reads the output position a + start - y out_step, where first + a s is the input position.
struct PhaseAxis {
  u32 first, count, tap, taps, tap_step, out_step;
  int start;

  __device__ __forceinline__ PhaseAxis(u32 size, u32 all_taps, u32 stride, u32 pad, u32 dil, u32 first)
      : first(first), count(size > first ? (size - first + stride - 1) / stride : 0), tap(0) {
    // The first tap with (first + pad - tap dil) divisible by the stride; they repeat after stride / gcd(stride, dil).
    u32 a = stride, b = dil % stride;
    while (b) {
      const u32 rest = a % b;
      a = b;
      b = rest;
    }
    tap_step = stride / a;
    out_step = dil / a;
    while (tap < tap_step && (int(first + pad) - int(tap * dil)) % int(stride) != 0) ++tap;
    taps = tap < tap_step && tap < all_taps ? (all_taps - tap + tap_step - 1) / tap_step : 0;
    start = (int(first + pad) - int(tap * dil)) / int(stride);
  }
};

struct Phase {
  PhaseAxis down, across;
  // The pixels of all images.
  u64 pixels;

  __device__ __forceinline__ Phase(const ConvParams& p, u32 number)
      : down(p.h, p.taps.size / p.tap_width.size, p.stride_h, p.pad_h, p.dil_h, number / p.stride_w),
        across(p.w, p.tap_width.size, p.stride_w, p.pad_w, p.dil_w, number % p.stride_w),
        pixels(u64(p.n) * down.count * across.count) {}

  // The offset in gx of the group's first channel of a pixel.
  __device__ __forceinline__ u64 offset_of(const ConvParams& p, u32 pixel, u32 group) const {
    const u32 image = pixel / (down.count * across.count), rest = pixel - image * down.count * across.count;
    const u32 a = rest / across.count, b = rest - a * across.count;
    return (u64(image) * p.ci + u64(group) * p.group_in) * p.h * p.w + u64(down.first + a * p.stride_h) * p.w + across.first +
           b * p.stride_w;
  }
};
