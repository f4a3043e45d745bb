// Direct convolution for few output channels per group (depthwise, first layers of LeNet), where most of a tile of a product
// would be padding.
//
//   conv_direct_forward_C_TYPE     y as in conv.cu: a thread computes C channels of an output pixel.
//                                  Grid: x = pixels / (256 / splits), y = groups, times channels / C
//   conv_direct_grad_input_C_TYPE  gx as in conv.cu: a thread computes C channels of an input pixel. Grid: the same
//   conv_direct_grad_weight_TYPE   gw as in conv.cu: a block computes one weight. Grid: x = weights
//
// The weights of C channels are cached in shared memory, for some input channels at a time. An element of the image is read once
// per tap and C channels, by adjacent threads at adjacent addresses. Where there are few pixels, `splits` threads share one: each
// sums over a part of the channels, which shortens the chain of dependent loads, and the sums are added in shared memory. At most
// 256 taps. Blocks of 256 threads. Cost: 2 n co ci / groups kh kw oh ow flops each. All overwrite their output.
// The minimum of 1 block per multiprocessor in __launch_bounds__ keeps ptxas from spilling for an occupancy that it reaches
// anyway.
// Budget: 96 registers, 8192 bytes of shared memory.
// Budget of conv_direct_forward_8_f64: 120 registers, 16384 bytes of shared memory.
// Budget of conv_direct_grad_input_8_f64: 120 registers, 16384 bytes of shared memory.
#include "conv.cuh"

// The taps of one output channel whose weights are cached at a time. One per thread, since the cache holds the threads' sums in
// the end.
#define CACHED THREADS

// sum[c] = the sum over `channels` planes, from offset `planes` on, and all taps of weight times image, for the pixel that the
// threads t, t + 256 / splits, .. of a block share. `at(y, x, row, column)` returns the position that a tap reads, or false if it
// reads none; `weight(channel, tap, c)` returns the weight's offset for c < count. A gradient is masked by `mask`, if that is not
// null. Three taps of a row are read at a time, so that their loads overlap.
template <typename T, int C, typename At, typename Weight>
__device__ __forceinline__ void direct(const void* image, const void* mask, u64 planes, u32 height, u32 width, u32 channels,
                                       u32 kh, u32 kw, u32 count, u32 splits, const T* weights, At at, Weight weight,
                                       T (&cache)[CACHED * C], T (&sum)[C]) {
  const u32 taps = kh * kw, step = CACHED / taps, split = threadIdx.x / (THREADS / splits);
  const u64 plane_size = u64(height) * width;
#pragma unroll
  for (int c = 0; c < C; ++c) sum[c] = T(0);
#pragma unroll 1
  for (u32 first = 0; first < channels; first += step) {
    const u32 some = smaller_of(step, channels - first);
    __syncthreads();  // the weights of the last iteration are overwritten
    for (u32 i = threadIdx.x; i < some * taps * C; i += blockDim.x) {
      const u32 c = i % C, k = i / C;
      cache[i] = c < count ? weights[weight(first + k / taps, k % taps, c)] : T(0);
    }
    __syncthreads();
    u64 plane = planes + (first + split) * plane_size;
#pragma unroll 1
    for (u32 channel = split; channel < some; channel += splits, plane += splits * plane_size) {
      const T* w = cache + channel * taps * C;
#pragma unroll 1
      for (u32 y = 0; y < kh; ++y)
#pragma unroll 3
        for (u32 x = 0; x < kw; ++x, w += C) {
          u32 row, column;
          const T v = at(y, x, row, column) ? gradient<T>(image, mask, plane + row * width + column) : T(0);
#pragma unroll
          for (int c = 0; c < C; ++c) sum[c] = fma_of(w[c], v, sum[c]);
        }
    }
  }
  if (splits == 1) return;
  __syncthreads();  // the last weights are overwritten
#pragma unroll
  for (int c = 0; c < C; ++c) cache[c * THREADS + threadIdx.x] = sum[c];
  __syncthreads();
  if (split != 0) return;
#pragma unroll 1
  for (u32 from = THREADS / splits + threadIdx.x; from < THREADS; from += THREADS / splits)
#pragma unroll
    for (int c = 0; c < C; ++c) sum[c] += cache[c * THREADS + from];
}

// The pixel of this thread, and whether the thread is the one that writes it.
__device__ __forceinline__ u64 pixel_of(const ConvParams& p, bool& writes) {
  const u32 width = THREADS / p.splits;
  writes = threadIdx.x < width;
  return u64(blockIdx.x) * width + threadIdx.x % width;
}

template <typename T, int C>
__device__ __forceinline__ void forward(const ConvParams& p) {
  const u32 blocks = (p.group_out + C - 1) / C, group = blockIdx.y / blocks, first = blockIdx.y % blocks * C;
  bool writes;
  const u64 pixel = pixel_of(p, writes);
  const bool inside = pixel < p.pixels;
  u32 image, i, j;
  split_pixel(p.out_plane, p.out_width, inside ? u32(pixel) : 0, image, i, j);
  const int top = int(i * p.stride_h) - int(p.pad_h), left = int(j * p.stride_w) - int(p.pad_w);
  const u64 planes = (u64(image) * p.ci + u64(group) * p.group_in) * p.h * p.w;
  const u64 o = u64(group) * p.group_out + first;
  const u32 count = smaller_of(u32(C), p.group_out - first), taps = p.taps.size;
  __shared__ __align__(16) T cache[CACHED * C];
  T sum[C];
  direct<T, C>(
      p.x, nullptr, planes, p.h, p.w, p.group_in, taps / p.tap_width.size, p.tap_width.size, count, p.splits,
      static_cast<const T*>(p.weight) + o * p.group_in * taps,
      [&](u32 y, u32 x, u32& row, u32& column) {
        row = u32(top + int(y * p.dil_h));
        column = u32(left + int(x * p.dil_w));
        return inside && row < p.h && column < p.w;  // negative positions are large as u32
      },
      [&](u32 channel, u32 tap, u32 c) { return (u64(c) * p.group_in + channel) * taps + tap; }, cache, sum);
  if (!inside || !writes) return;
  const u64 at = (u64(image) * p.co + o) * p.out_plane.size + (pixel - u64(image) * p.out_plane.size);
#pragma unroll
  for (int c = 0; c < C; ++c)
    if (c < count)
      static_cast<T*>(p.out)[at + u64(c) * p.out_plane.size] = epilogue(p, sum[c], o + c);
}

template <typename T, int C>
__device__ __forceinline__ void grad_input(const ConvParams& p) {
  const u32 blocks = (p.group_in + C - 1) / C, group = blockIdx.y / blocks, first = blockIdx.y % blocks * C;
  bool writes;
  const u64 pixel = pixel_of(p, writes), plane = u64(p.h) * p.w;
  const bool inside = pixel < p.n * plane;
  const u32 image = inside ? u32(pixel / plane) : 0, at = inside ? u32(pixel - image * plane) : 0;
  const u32 i = at / p.w + p.pad_h, j = at % p.w + p.pad_w;
  const u64 planes = (u64(image) * p.co + u64(group) * p.group_out) * p.out_plane.size;
  const u32 count = smaller_of(u32(C), p.group_in - first), taps = p.taps.size;
  __shared__ __align__(16) T cache[CACHED * C];
  T sum[C];
  const u32 kh = taps / p.tap_width.size, kw = p.tap_width.size;
  const T* weights = static_cast<const T*>(p.weight) + (u64(group) * p.group_out * p.group_in + first) * taps;
  const auto weight = [&](u32 channel, u32 tap, u32 c) { return (u64(channel) * p.group_in + c) * taps + tap; };
  if (p.stride_h == 1 && p.stride_w == 1) {
    const auto at = [&](u32 y, u32 x, u32& row, u32& column) {
      row = i - y * p.dil_h;  // negative positions are large as u32
      column = j - x * p.dil_w;
      return inside && row < p.oh && column < p.ow;
    };
    direct<T, C>(p.x, p.mask, planes, p.oh, p.ow, p.group_out, kh, kw, count, p.splits, weights, at, weight, cache, sum);
  } else {
    const auto at = [&](u32 y, u32 x, u32& row, u32& column) {
      const u32 down = i - y * p.dil_h, right = j - x * p.dil_w;
      if (!inside || y * p.dil_h > i || x * p.dil_w > j) return false;
      row = down / p.stride_h;
      column = right / p.stride_w;
      return row * p.stride_h == down && column * p.stride_w == right && row < p.oh && column < p.ow;
    };
    direct<T, C>(p.x, p.mask, planes, p.oh, p.ow, p.group_out, kh, kw, count, p.splits, weights, at, weight, cache, sum);
  }
  if (!inside || !writes) return;
  T* out = static_cast<T*>(p.out) + (u64(image) * p.ci + u64(group) * p.group_in + first) * plane + at;
#pragma unroll
  for (int c = 0; c < C; ++c)
    if (c < count) out[u64(c) * plane] = sum[c];
}

template <typename T>
__device__ __forceinline__ void grad_weight(const ConvParams& p) {
  u32 pair, y, x;
  split_pixel(p.taps, p.tap_width, blockIdx.x, pair, y, x);
  const u32 o = pair / p.group_in, channel = o / p.group_out * p.group_in + pair % p.group_in;
  const u64 g = u64(o) * p.out_plane.size;
  const T* planes = static_cast<const T*>(p.x) + u64(channel) * p.h * p.w;
  T sum = T(0);
#pragma unroll 1
  for (u64 pixel = threadIdx.x; pixel < p.pixels; pixel += blockDim.x) {
    u32 image, i, j;
    split_pixel(p.out_plane, p.out_width, u32(pixel), image, i, j);
    const u32 row = i * p.stride_h + y * p.dil_h - p.pad_h, column = j * p.stride_w + x * p.dil_w - p.pad_w;
    // Padding is multiplied too, as in the other kernels: 0 times infinity is NaN.
    const T v = row < p.h && column < p.w ? planes[u64(image) * p.ci * p.h * p.w + u64(row) * p.w + column] : T(0);
    const u64 at = g + u64(image) * p.co * p.out_plane.size + (pixel - u64(image) * p.out_plane.size);
    sum = fma_of(gradient<T>(p.weight, p.mask, at), v, sum);
  }
  sum = block_reduce<THREADS>(sum, T(0), Sum());
  if (threadIdx.x == 0) static_cast<T*>(p.out)[blockIdx.x] = sum;
}

#define CHANNELS(count, suffix, T)                                                                     \
  KERNEL(conv_direct_forward_##count##_##suffix, ConvParams, THREADS, 1) { forward<T, count>(p); }     \
  KERNEL(conv_direct_grad_input_##count##_##suffix, ConvParams, THREADS, 1) { grad_input<T, count>(p); }
#define DIRECT(suffix, T)                                                                     \
  CHANNELS(1, suffix, T)                                                                      \
  CHANNELS(4, suffix, T)                                                                      \
  CHANNELS(8, suffix, T)                                                                      \
  KERNEL(conv_direct_grad_weight_##suffix, ConvParams, THREADS, 1) { grad_weight<T>(p); }
DIRECT(f32, float)
DIRECT(f64, double)
