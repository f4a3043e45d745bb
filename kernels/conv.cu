// Convolution (cross-correlation, as the field means it) and its two gradients, as products of matrices that exist nowhere.
//
//   conv_forward_SIZE_TYPE      y[n, o, i, j] = bias[o] + sum over c, y, x of w[o, c, y, x] x[n, c, i s + y d - p, ..]
//                               per group: A = w [co, ci kh kw], B = the windows [ci kh kw, n oh ow]
//   conv_grad_input_SIZE_TYPE   gx[n, c, q] = sum over o and the taps that reach q of w[o, c, tap] g[n, o, where the tap reads q]
//                               A = w turned, B = g seen through the taps
//   conv_grad_weight_SIZE_TYPE  gw[o, c, y, x] = sum over n, i, j of g[n, o, i, j] x[n, c, i s + y d - p, ..]
//                               A = g [co, n oh ow], B = the windows turned [n oh ow, ci kh kw]
//
// A tile of SIZE x SIZE per block of 256 threads (gemm.cuh): the B slab is gathered from the image while it is copied into shared
// memory, so no columns are ever stored. Grid: x = tiles, times splits of k; y = groups (times phases for grad_input, which
// walks). A strided convolution's grad_input falls apart into s s phases, the pixels with equal remainders: only some taps reach
// them, and for those it is a convolution of stride 1, so nothing is multiplied by 0. grad_weight's k is the whole batch: it is
// split over blocks, and the last block of a tile adds the parts in order. Cost: 2 n co ci / groups kh kw oh ow flops each.
// In forward's epilogue are bias and relu; the gradients read g as it is before a relu if they are given its result; and grad_weight
// writes the sums of g, the gradient of a bias, beside its own. All overwrite their output. Layouts: x [n, ci, h, w], w [co, ci / groups, kh, kw], y and g [n, co, oh, ow], all in order.
// Budget: 128 registers, 18436 bytes of shared memory.
// Budget of conv_forward_32: 128 registers, 36868 bytes of shared memory.
// Budget of conv_grad_input_32: 128 registers, 36868 bytes of shared memory.
// Budget of conv_grad_weight_32: 128 registers, 38916 bytes of shared memory.
// Budget of conv_forward_64: 128 registers, 34820 bytes of shared memory.
// Budget of conv_grad_input_64: 128 registers, 34820 bytes of shared memory.
// Budget of conv_grad_weight_64: 128 registers, 36868 bytes of shared memory.
#include "conv_tile.cuh"

// The B slab of the forward map and of grad_input: a thread keeps one column (one pixel) and meets a different (channel, tap) in
// every step. `Walker` knows where a pixel's taps lie.
template <typename T, int B, int BK, typename Walker>
struct TapLoader {
  static constexpr int COUNT = B * BK / GEMM_THREADS;
  Walker walker;
  int column, row;

  __device__ __forceinline__ explicit TapLoader(const Walker& walker)
      : walker(walker), column(int(threadIdx.x) % B), row(int(threadIdx.x) / B) {}

  __device__ __forceinline__ void fetch(u64 first, u64 last, T (&v)[COUNT]) const {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
      const u32 k = u32(first) + row + i * (GEMM_THREADS / B);
      v[i] = k < u32(last) ? walker.read(k) : T(0);
    }
  }
  __device__ __forceinline__ void lay(T (&slab)[BK][B + GEMM_PAD], const T (&v)[COUNT]) const {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) slab[row + i * (GEMM_THREADS / B)][column] = v[i];
  }
};

// A window of the forward map, at one output pixel.
template <typename T>
struct Window {
  const ConvParams& p;
  // The group's first plane of the pixel's image.
  const T* planes;
  int top, left;
  bool inside;

  __device__ __forceinline__ Window(const ConvParams& p, u32 group, u64 pixel) : p(p), inside(pixel < p.pixels) {
    u32 image, i, j;
    split_pixel(p.out_plane, p.out_width, inside ? u32(pixel) : 0, image, i, j);
    planes = static_cast<const T*>(p.x) + (u64(image) * p.ci + u64(group) * p.group_in) * p.h * p.w;
    top = int(i * p.stride_h) - int(p.pad_h);
    left = int(j * p.stride_w) - int(p.pad_w);
  }
  __device__ __forceinline__ T read(u32 k) const {
    u32 channel, y, x;
    split_pixel(p.taps, p.tap_width, k, channel, y, x);
    const int row = top + int(y * p.dil_h), column = left + int(x * p.dil_w);
    const bool hit = inside && u32(row) < p.h && u32(column) < p.w;
    return hit ? planes[(u64(channel) * p.h + row) * p.w + column] : T(0);
  }
};

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void forward(const ConvParams& p) {
  const u32 group = blockIdx.y;
  const u64 tiles_m = (p.group_out + B - 1) / B;
  const u64 row = blockIdx.x % tiles_m * B, column = blockIdx.x / tiles_m * B;
  const u64 k = u64(p.group_in) * p.taps.size;
  const T* w = static_cast<const T*>(p.weight) + (u64(group) * p.group_out + row) * k;
  MatrixLoader<T, B, BK> load_w(w, k, 1, p.group_out - row, 0, p.w_mode);
  TapLoader<T, B, BK, Window<T>> load_x(Window<T>(p, group, column + threadIdx.x % B));
  T sum[PER][PER];
  NoSums none;
  gemm<T, B, B, BK, PER, PER, GEMM_UNROLL<T, PER, 1>>(load_w, load_x, 0, k, sum, none);
  put_forward<B>(p, group, row, column, sum);
}

// The taps that reach an input pixel of a phase, and the output pixels where they do. The largest tile has no registers left for a
// mask, here and in Pixels, nor for sums: it is given gradients that need no mask, and writes no sums.
template <typename T, bool MASKED>
struct Reach {
  const ConvParams& p;
  const Phase& phase;
  // Of the group's first plane of the pixel's image
  u64 planes;
  int i, j;
  bool inside;

  __device__ __forceinline__ Reach(const ConvParams& p, const Phase& phase, u32 group, u64 pixel)
      : p(p), phase(phase), inside(pixel < phase.pixels) {
    const u32 at = inside ? u32(pixel) : 0, plane = phase.height * phase.width;
    const u32 image = plane ? at / plane : 0, rest = at - image * plane;
    const u32 a = phase.width ? rest / phase.width : 0;
    planes = (u64(image) * p.co + u64(group) * p.group_out) * p.out_plane.size;
    i = int(a) + phase.top;
    j = int(rest - a * phase.width) + phase.left;
  }
  __device__ __forceinline__ T read(u32 k) const {
    const u32 taps = phase.rows * phase.columns, channel = k / taps, tap = k - channel * taps;
    const u32 y = tap / phase.columns, x = tap - y * phase.columns;
    const int row = i - int(y * phase.row_step), column = j - int(x * phase.column_step);
    const bool hit = inside && u32(row) < p.oh && u32(column) < p.ow;
    return hit ? gradient<T>(p.x, MASKED ? p.mask : nullptr, planes + u64(channel) * p.out_plane.size + u64(row) * p.ow + column) : T(0);
  }
};

// The weights as grad_input reads them: line = input channel, k = (output channel, tap of the phase).
template <typename T, int B, int BK>
struct TurnedWeights {
  static constexpr int COUNT = B * BK / GEMM_THREADS;
  const ConvParams& p;
  const Phase& phase;
  const T* weight;
  int lines, k, line;

  __device__ __forceinline__ TurnedWeights(const ConvParams& p, const Phase& phase, u32 group, u64 row)
      : p(p), phase(phase), k(int(threadIdx.x) % BK), line(int(threadIdx.x) / BK) {
    weight = static_cast<const T*>(p.weight) + u64(group) * p.group_out * p.group_in * p.taps.size + (row + line) * p.taps.size;
    const u64 left = p.group_in - row;
    lines = int(left < B ? left : B) - line;
  }
  __device__ __forceinline__ void fetch(u64 first, u64 last, T (&v)[COUNT]) const {
    const u32 at = u32(first) + k, taps = phase.rows * phase.columns, channel = at / taps, tap = at - channel * taps;
    const u32 y = tap / phase.columns, x = tap - y * phase.columns;
    const T* from = weight + u64(channel) * p.group_in * p.taps.size + (phase.row + y * phase.row_tap) * p.tap_width.size +
                    phase.column + x * phase.column_tap;
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      v[i] = at < u32(last) && lines > i * (GEMM_THREADS / BK) ? from[u64(i) * (GEMM_THREADS / BK) * p.taps.size] : T(0);
  }
  __device__ __forceinline__ void lay(T (&slab)[BK][B + GEMM_PAD], const T (&v)[COUNT]) const {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) slab[k][line + i * (GEMM_THREADS / BK)] = v[i];
  }
};

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void grad_input(const ConvParams& p) {
  const u32 phases = p.stride_h * p.stride_w, group = blockIdx.y / phases;
  const Phase phase(p, blockIdx.y % phases);
  const u64 tiles_m = (p.group_in + B - 1) / B;
  const u64 row = blockIdx.x % tiles_m * B, column = blockIdx.x / tiles_m * B;
  if (column >= phase.pixels) return;  // all of the block
  TurnedWeights<T, B, BK> load_w(p, phase, group, row);
  TapLoader<T, B, BK, Reach<T, PER != 8>> load_g(Reach<T, PER != 8>(p, phase, group, column + threadIdx.x % B));
  T sum[PER][PER];
  NoSums none;
  gemm<T, B, B, BK, PER, PER, GEMM_UNROLL<T, PER, 1>>(load_w, load_g, 0, u64(p.group_out) * phase.rows * phase.columns, sum, none);
  put_grad_input<B>(p, phase, group, row, column, sum);
}

// g as grad_weight reads it: line = output channel, k = output pixel of the batch.
template <typename T, int B, int BK, bool MASKED>
struct Pixels {
  static constexpr int COUNT = B * BK / GEMM_THREADS;
  const ConvParams& p;
  // Of the thread's first channel of the first image
  u64 planes;
  int lines, k, line;

  __device__ __forceinline__ Pixels(const ConvParams& p, u32 group, u64 row)
      : p(p), k(int(threadIdx.x) % BK), line(int(threadIdx.x) / BK) {
    planes = (u64(group) * p.group_out + row + line) * p.out_plane.size;
    const u64 left = p.group_out - row;
    lines = int(left < B ? left : B) - line;
  }
  __device__ __forceinline__ void fetch(u64 first, u64 last, T (&v)[COUNT]) const {
    const u64 at = first + k;
    const u32 image = divide(p.out_plane, u32(at));
    const u64 from = planes + u64(image) * (p.co - 1) * p.out_plane.size + at;
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      v[i] = at < last && lines > i * (GEMM_THREADS / BK)
                 ? gradient<T>(p.weight, MASKED ? p.mask : nullptr, from + u64(i) * (GEMM_THREADS / BK) * p.out_plane.size)
                 : T(0);
  }
  __device__ __forceinline__ void lay(T (&slab)[BK][B + GEMM_PAD], const T (&v)[COUNT]) const {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) slab[k][line + i * (GEMM_THREADS / BK)] = v[i];
  }
};

// The windows turned: line = (input channel, tap), k = output pixel of the batch. A thread keeps its lines.
template <typename T, int B, int BK>
struct TurnedWindows {
  static constexpr int COUNT = B * BK / GEMM_THREADS;
  const ConvParams& p;
  const T* planes;
  // Of each of the thread's lines: its place relative to a window's corner, row and column; the row is far out if there is no line.
  int place[COUNT], down[COUNT], right[COUNT];
  int k, line;

  __device__ __forceinline__ TurnedWindows(const ConvParams& p, u32 group, u64 column)
      : p(p), k(int(threadIdx.x) % BK), line(int(threadIdx.x) / BK) {
    planes = static_cast<const T*>(p.x) + u64(group) * p.group_in * p.h * p.w;
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
      const u64 at = column + line + i * (GEMM_THREADS / BK);
      const bool there = at < u64(p.group_in) * p.taps.size;
      u32 channel, y, x;
      split_pixel(p.taps, p.tap_width, there ? u32(at) : 0, channel, y, x);
      down[i] = there ? int(y * p.dil_h) : 1 << 30;
      right[i] = int(x * p.dil_w);
      place[i] = int((channel * p.h + y * p.dil_h) * p.w + x * p.dil_w);
    }
  }
  __device__ __forceinline__ void fetch(u64 first, u64 last, T (&v)[COUNT]) const {
    const u64 at = first + k;
    u32 image, i, j;
    split_pixel(p.out_plane, p.out_width, u32(at), image, i, j);
    const int top = int(i * p.stride_h) - int(p.pad_h), left = int(j * p.stride_w) - int(p.pad_w);
    const i64 corner = i64(image) * p.ci * p.h * p.w + i64(top) * p.w + left;
#pragma unroll
    for (int c = 0; c < COUNT; ++c) {
      const bool hit = at < last && u32(top + down[c]) < p.h && u32(left + right[c]) < p.w;
      v[c] = hit ? planes[corner + place[c]] : T(0);
    }
  }
  __device__ __forceinline__ void lay(T (&slab)[BK][B + GEMM_PAD], const T (&v)[COUNT]) const {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) slab[k][line + i * (GEMM_THREADS / BK)] = v[i];
  }
};

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void grad_weight(const ConvParams& p) {
  const u32 group = blockIdx.y, split = blockIdx.x % p.splits;
  const u64 n = u64(p.group_in) * p.taps.size, tiles_m = (p.group_out + B - 1) / B, tiles_n = (n + B - 1) / B;
  const u64 tile = blockIdx.x / p.splits, row = tile % tiles_m * B, column = tile / tiles_m * B;
  Pixels<T, B, BK, PER != 8> load_g(p, group, row);
  TurnedWindows<T, B, BK> load_x(p, group, column);
  const u64 steps = (p.pixels + BK - 1) / BK;
  const u64 first = steps * split / p.splits * BK, end = steps * (split + 1) / p.splits * BK;
  T sum[PER][PER];
  const u64 last = end < p.pixels ? end : p.pixels, at = u64(group) * tiles_m * tiles_n + tile;
  constexpr int UNROLL = GEMM_UNROLL<T, PER, 1>;
  if constexpr (PER == 8) {
    NoSums none;
    gemm<T, B, B, BK, PER, PER, UNROLL>(load_g, load_x, first, last, sum, none);
    if (!gemm_join(static_cast<T*>(p.parts), p.counters, at, split, p.splits, sum)) return;
  } else {
    RowSums<T, B, BK> rows(p.sums && column == 0);
    gemm<T, B, B, BK, PER, PER, UNROLL>(load_g, load_x, first, last, sum, rows);
    if (!gemm_join(static_cast<T*>(p.parts), p.counters, at, split, p.splits, sum, &rows.sum)) return;
    rows.store(static_cast<T*>(p.sums) + u64(group) * p.group_out + row, p.group_out - row);
  }
#pragma unroll
  for (int i = 0; i < PER; ++i) {
    const u64 o = row + gemm_line<B, PER>(gemm_row(), i);
#pragma unroll
    for (int j = 0; j < PER; ++j) {
      const u64 c = column + gemm_line<B, PER>(gemm_column(), j);
      if (o < p.group_out && c < n) static_cast<T*>(p.out)[(u64(group) * p.group_out + o) * n + c] = sum[i][j];
    }
  }
}

#define CONV(size, suffix, T, BK, PER)                                                    \
  extern "C" __global__ void __launch_bounds__(GEMM_THREADS, PER == 8 ? 2 : 1)            \
      conv_forward_##size##_##suffix(const __grid_constant__ ConvParams p) {              \
    forward<T, size, BK, PER>(p);                                                         \
  }                                                                                       \
  extern "C" __global__ void __launch_bounds__(GEMM_THREADS, PER == 8 ? 2 : 1)            \
      conv_grad_input_##size##_##suffix(const __grid_constant__ ConvParams p) {           \
    grad_input<T, size, BK, PER>(p);                                                      \
  }                                                                                       \
  extern "C" __global__ void __launch_bounds__(GEMM_THREADS, PER == 8 ? 2 : 1)            \
      conv_grad_weight_##size##_##suffix(const __grid_constant__ ConvParams p) {          \
    grad_weight<T, size, BK, PER>(p);                                                     \
  }
CONV(128, f32, float, 8, 8)
CONV(64, f32, float, 16, 4)
CONV(32, f32, float, 32, 2)
CONV(64, f64, double, 16, 4)
CONV(32, f64, double, 32, 2)
