// Convolution (cross-correlation) and its two gradients as implicit GEMMs: no im2col matrix is stored. backend-cuda/src/conv.rs
// chooses between these kernels and those of conv_direct.cu and conv_tap.cu.
//
//   conv_forward_SIZE_TYPE      y[n, o, i, j] = bias[o] + sum over c, y, x of w[o, c, y, x] x[n, c, i s + y d - p, ..]
//                               per group: A = w [co, ci kh kw], B = the windows [ci kh kw, n oh ow]
//   conv_grad_input_SIZE_TYPE   gx[n, c, q] = sum over o and the taps that reach q of w[o, c, tap] g[n, o, where the tap reads q]
//                               per group: A = w transposed, B = g read through the taps
//   conv_grad_weight_SIZE_TYPE  gw[o, c, y, x] = sum over n, i, j of g[n, o, i, j] x[n, c, i s + y d - p, ..]
//                               per group: A = g [co, n oh ow], B = the windows transposed [n oh ow, ci kh kw]
//
// Layouts, all contiguous: x [n, ci, h, w], w [co, ci / groups, kh, kw], y and g [n, co, oh, ow]. A block of 256 threads computes
// a tile of SIZE x SIZE (gemm.cuh); its loader gathers the B slab from the image. Grid: x = tiles, times splits of k; y = groups,
// times phases for grad_input. A grad_input of stride s splits into s s phases, each a convolution of stride 1 with some of the
// taps (conv.cuh), so nothing is multiplied by zeros between the strides. The k of grad_weight runs over the whole batch and is
// split over blocks; the last block of a tile sums the partial products in order. Fused: forward adds
// the bias and applies relu; the gradients mask g by the output of a relu, if it is given; grad_weight also writes the sums of g,
// the gradient of the bias. All overwrite their output. Cost of each: 2 n co ci / groups kh kw oh ow flops.
// Budget: 128 registers, 18436 bytes of shared memory.
// Budget of conv_forward_32: 128 registers, 36868 bytes of shared memory.
// Budget of conv_grad_input_32: 128 registers, 36868 bytes of shared memory.
// Budget of conv_grad_weight_32: 128 registers, 38916 bytes of shared memory.
// Budget of conv_forward_64: 128 registers, 34820 bytes of shared memory.
// Budget of conv_grad_input_64: 128 registers, 34820 bytes of shared memory.
// Budget of conv_grad_weight_64: 128 registers, 36868 bytes of shared memory.
#include "conv_tile.cuh"

// The loader of the B slab of forward and grad_input: a thread's column, a pixel, is fixed; the rows k are (channel, tap).
// Pixel::read(k) is the element of that column at k.
template <typename T, int B, int BK, typename Pixel>
struct PixelLoader : SlabShare<T, B, BK, false> {
  using Share = SlabShare<T, B, BK, false>;
  Pixel pixel;

  __device__ __forceinline__ explicit PixelLoader(const Pixel& pixel) : pixel(pixel) {}

  __device__ __forceinline__ void load(u64 first, u64 last, T (&v)[Share::COUNT]) const {
#pragma unroll
    for (int i = 0; i < Share::COUNT; ++i) {
      const u32 k = u32(first) + Share::k() + i * Share::STEP;
      v[i] = k < u32(last) ? pixel.read(k) : T(0);
    }
  }
};

// The window of an output pixel: a column of the im2col matrix.
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
    const bool in_image = inside && u32(row) < p.h && u32(column) < p.w;
    return in_image ? planes[(u64(channel) * p.h + row) * p.w + column] : T(0);
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
  PixelLoader<T, B, BK, Window<T>> load_x(Window<T>(p, group, column + threadIdx.x % B));
  T sum[PER][PER];
  NoSums none;
  gemm<T, B, B, BK, PER, PER, GEMM_UNROLL<T, PER, 1>>(load_w, load_x, 0, k, sum, none);
  store_forward<B>(p, group, row, column, sum);
}

// The gradients that an input pixel of a phase receives: for each output channel and tap of the phase, that of the output
// pixel that reads the input pixel through the tap. The kernels of the largest tile have no registers left for a mask or for
// sums: they take gradients without a mask, and write no sums.
template <typename T, bool MASKED>
struct GradWindow {
  const ConvParams& p;
  const Phase& phase;
  // The offset of the group's first plane of the pixel's image.
  u64 planes;
  int i, j;
  bool inside;

  __device__ __forceinline__ GradWindow(const ConvParams& p, const Phase& phase, u32 group, u64 pixel)
      : p(p), phase(phase), inside(pixel < phase.pixels) {
    const u32 at = inside ? u32(pixel) : 0, plane = phase.down.count * phase.across.count;
    const u32 image = plane ? at / plane : 0, rest = at - image * plane;
    const u32 a = phase.across.count ? rest / phase.across.count : 0;
    planes = (u64(image) * p.co + u64(group) * p.group_out) * p.out_plane.size;
    i = int(a) + phase.down.start;
    j = int(rest - a * phase.across.count) + phase.across.start;
  }
  __device__ __forceinline__ T read(u32 k) const {
    const u32 taps = phase.down.taps * phase.across.taps, channel = k / taps, tap = k - channel * taps;
    const u32 y = tap / phase.across.taps, x = tap - y * phase.across.taps;
    const int row = i - int(y * phase.down.out_step), column = j - int(x * phase.across.out_step);
    if (!inside || u32(row) >= p.oh || u32(column) >= p.ow) return T(0);
    return gradient<T>(p.x, MASKED ? p.mask : nullptr, planes + u64(channel) * p.out_plane.size + u64(row) * p.ow + column);
  }
};

// The A slab of grad_input: mn = input channel, k = (output channel, tap of the phase).
template <typename T, int B, int BK>
struct TransposedWeights : SlabShare<T, B, BK, true> {
  using Share = SlabShare<T, B, BK, true>;
  const ConvParams& p;
  const Phase& phase;
  const T* weight;
  // The number of input channels from the thread's first on.
  int channels;

  __device__ __forceinline__ TransposedWeights(const ConvParams& p, const Phase& phase, u32 group, u64 row)
      : p(p), phase(phase) {
    weight = static_cast<const T*>(p.weight) + u64(group) * p.group_out * p.group_in * p.taps.size +
             (row + Share::mn()) * p.taps.size;
    const u64 left = p.group_in - row;
    channels = int(left < B ? left : B) - Share::mn();
  }
  __device__ __forceinline__ void load(u64 first, u64 last, T (&v)[Share::COUNT]) const {
    const u32 taps = phase.down.taps * phase.across.taps;
    const u32 at = u32(first) + Share::k(), channel = at / taps, tap = at - channel * taps;
    const u32 y = tap / phase.across.taps, x = tap - y * phase.across.taps;
    const T* from = weight + u64(channel) * p.group_in * p.taps.size +
                    (phase.down.tap + y * phase.down.tap_step) * p.tap_width.size + phase.across.tap +
                    x * phase.across.tap_step;
#pragma unroll
    for (int i = 0; i < Share::COUNT; ++i)
      v[i] = at < u32(last) && channels > i * Share::STEP ? from[u64(i) * Share::STEP * p.taps.size] : T(0);
  }
};

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void grad_input(const ConvParams& p) {
  const u32 phases = p.stride_h * p.stride_w, group = blockIdx.y / phases;
  const Phase phase(p, blockIdx.y % phases);
  const u64 tiles_m = (p.group_in + B - 1) / B;
  const u64 row = blockIdx.x % tiles_m * B, column = blockIdx.x / tiles_m * B;
  if (column >= phase.pixels) return;  // the whole block
  TransposedWeights<T, B, BK> load_w(p, phase, group, row);
  PixelLoader<T, B, BK, GradWindow<T, PER != 8>> load_g(GradWindow<T, PER != 8>(p, phase, group, column + threadIdx.x % B));
  T sum[PER][PER];
  NoSums none;
  const u64 k = u64(p.group_out) * phase.down.taps * phase.across.taps;
  gemm<T, B, B, BK, PER, PER, GEMM_UNROLL<T, PER, 1>>(load_w, load_g, 0, k, sum, none);
  store_grad_input<B>(p, phase, group, row, column, sum);
}

// The A slab of grad_weight: mn = output channel, k = output pixel of the batch.
template <typename T, int B, int BK, bool MASKED>
struct GradPixels : SlabShare<T, B, BK, true> {
  using Share = SlabShare<T, B, BK, true>;
  const ConvParams& p;
  // The offset of the thread's first channel of the first image.
  u64 planes;
  // The number of output channels from the thread's first on.
  int channels;

  __device__ __forceinline__ GradPixels(const ConvParams& p, u32 group, u64 row) : p(p) {
    planes = (u64(group) * p.group_out + row + Share::mn()) * p.out_plane.size;
    const u64 left = p.group_out - row;
    channels = int(left < B ? left : B) - Share::mn();
  }
  __device__ __forceinline__ void load(u64 first, u64 last, T (&v)[Share::COUNT]) const {
    const u64 at = first + Share::k();
    const u32 image = divide(p.out_plane, u32(at));
    const u64 from = planes + u64(image) * (p.co - 1) * p.out_plane.size + at;
#pragma unroll
    for (int i = 0; i < Share::COUNT; ++i)
      v[i] = at < last && channels > i * Share::STEP
                 ? gradient<T>(p.weight, MASKED ? p.mask : nullptr, from + u64(i) * Share::STEP * p.out_plane.size)
                 : T(0);
  }
};

// The B slab of grad_weight: mn = (input channel, tap), k = output pixel of the batch. A thread's channels and taps are fixed.
template <typename T, int B, int BK>
struct TransposedWindows : SlabShare<T, B, BK, true> {
  using Share = SlabShare<T, B, BK, true>;
  const ConvParams& p;
  const T* planes;
  // For each (channel, tap) of the thread: its offset from the window's corner, and the row and column of the tap. If there is
  // none, the row is far outside of every image.
  int offset[Share::COUNT], down[Share::COUNT], right[Share::COUNT];

  __device__ __forceinline__ TransposedWindows(const ConvParams& p, u32 group, u64 column) : p(p) {
    planes = static_cast<const T*>(p.x) + u64(group) * p.group_in * p.h * p.w;
#pragma unroll
    for (int i = 0; i < Share::COUNT; ++i) {
      const u64 at = column + Share::mn() + i * Share::STEP;
      const bool exists = at < u64(p.group_in) * p.taps.size;
      u32 channel, y, x;
      split_pixel(p.taps, p.tap_width, exists ? u32(at) : 0, channel, y, x);
      down[i] = exists ? int(y * p.dil_h) : 1 << 30;
      right[i] = int(x * p.dil_w);
      offset[i] = int((channel * p.h + y * p.dil_h) * p.w + x * p.dil_w);
    }
  }
  __device__ __forceinline__ void load(u64 first, u64 last, T (&v)[Share::COUNT]) const {
    const u64 at = first + Share::k();
    u32 image, i, j;
    split_pixel(p.out_plane, p.out_width, u32(at), image, i, j);
    const int top = int(i * p.stride_h) - int(p.pad_h), left = int(j * p.stride_w) - int(p.pad_w);
    const i64 corner = i64(image) * p.ci * p.h * p.w + i64(top) * p.w + left;
#pragma unroll
    for (int c = 0; c < Share::COUNT; ++c) {
      const bool in_image = at < last && u32(top + down[c]) < p.h && u32(left + right[c]) < p.w;
      v[c] = in_image ? planes[corner + offset[c]] : T(0);
    }
  }
};

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void grad_weight(const ConvParams& p) {
  const u32 group = blockIdx.y, split = blockIdx.x % p.splits;
  const u64 n = u64(p.group_in) * p.taps.size, tiles_m = (p.group_out + B - 1) / B, tiles_n = (n + B - 1) / B;
  const u64 tile = blockIdx.x / p.splits, row = tile % tiles_m * B, column = tile / tiles_m * B;
  GradPixels<T, B, BK, PER != 8> load_g(p, group, row);
  TransposedWindows<T, B, BK> load_x(p, group, column);
  const u64 steps = (p.pixels + BK - 1) / BK;
  const u64 first = steps * split / p.splits * BK, end = steps * (split + 1) / p.splits * BK;
  T sum[PER][PER];
  const u64 last = end < p.pixels ? end : p.pixels, at = u64(group) * tiles_m * tiles_n + tile;
  constexpr int UNROLL = GEMM_UNROLL<T, PER, 1>;
  if constexpr (PER == 8) {
    NoSums none;
    gemm<T, B, B, BK, PER, PER, UNROLL>(load_g, load_x, first, last, sum, none);
    if (!gemm_combine_splits(static_cast<T*>(p.partials), p.counters, at, split, p.splits, sum)) return;
  } else {
    RowSums<T, B, BK> rows(p.sums && column == 0);
    gemm<T, B, B, BK, PER, PER, UNROLL>(load_g, load_x, first, last, sum, rows);
    if (!gemm_combine_splits(static_cast<T*>(p.partials), p.counters, at, split, p.splits, sum, &rows.sum)) return;
    rows.store(static_cast<T*>(p.sums) + u64(group) * p.group_out + row, p.group_out - row);
  }
#pragma unroll
  for (int i = 0; i < PER; ++i) {
    const u64 o = row + gemm_offset<B, PER>(gemm_row(), i);
#pragma unroll
    for (int j = 0; j < PER; ++j) {
      const u64 c = column + gemm_offset<B, PER>(gemm_column(), j);
      if (o < p.group_out && c < n) static_cast<T*>(p.out)[(u64(group) * p.group_out + o) * n + c] = sum[i][j];
    }
  }
}

GEMM_KERNELS(conv_forward, ConvParams, forward)
GEMM_KERNELS(conv_grad_input, ConvParams, grad_input)
GEMM_KERNELS(conv_grad_weight, ConvParams, grad_weight)
