// The forward pass of convolution and the gradient of its input as implicit GEMMs in tap-major order, where the channels of a
// group are a multiple of BK. As conv.cu, but k runs over groups of BK channels, within a group over taps, and within a tap over
// channels.
//
//   conv_tap_forward_SIZE_TYPE      y as in conv.cu
//   conv_tap_grad_input_SIZE_TYPE   gx as in conv.cu; the channels are those of g
//
// A slab is then one tap of BK channels: the position in the image is computed once per slab instead of once per element, without
// a division. The taps of one group of channels follow each other, so that their pixels and weights hit in L1. BK is 8, 16 and 32
// for tiles of 128, 64 and 32. Launch, cost, layouts, epilogue and masks are those of conv.cu.
// Budget: 128 registers, 18436 bytes of shared memory.
// Budget of conv_tap_forward_32: 128 registers, 36868 bytes of shared memory.
// Budget of conv_tap_grad_input_32: 128 registers, 36868 bytes of shared memory.
// Budget of conv_tap_forward_64: 128 registers, 34820 bytes of shared memory.
// Budget of conv_tap_grad_input_64: 128 registers, 34820 bytes of shared memory.
#include "conv_tile.cuh"

// The position in an endless loop over rows x columns taps.
struct Taps {
  u32 rows, columns;
  u32 row, column;

  __device__ __forceinline__ Taps(u32 rows, u32 columns) : rows(rows), columns(columns), row(0), column(0) {}

  // Advances to the next tap. Returns 1 if it is in the same row, 2 if it is the first of the next row, and 3 if it is the first
  // tap of the next channels.
  __device__ __forceinline__ int advance() {
    if (++column < columns) return 1;
    column = 0;
    if (++row < rows) return 2;
    row = 0;
    return 3;
  }
};

// The B slab: the elements [channel][top + y down][left + x right] of planes of height x width for this thread's pixel.
template <typename T, int B, int BK, bool MASKED>
struct TapPixels : SlabShare<T, B, BK, false> {
  using Share = SlabShare<T, B, BK, false>;
  const void* image;
  const void* mask;
  Taps taps;
  // The offset of the plane of this thread's first channel in the slab.
  u64 channel;
  u32 plane;
  int height, width, top, left, down, right;
  // The position that the tap reads.
  int row, column;
  bool inside;

  // `planes`: the offset of the first plane of the pixel's image.
  __device__ __forceinline__ TapPixels(const void* image, const void* mask, Taps taps, u64 planes, u32 height, u32 width, int top,
                                       int left, int down, int right, bool inside)
      : image(image), mask(mask), taps(taps), plane(height * width), height(height), width(width), top(top), left(left),
        down(down), right(right), row(top), column(left), inside(inside) {
    channel = planes + u64(Share::k()) * plane;
  }

  __device__ __forceinline__ void load(u64, u64, T (&v)[Share::COUNT]) {
    const bool in_image = inside && u32(row) < u32(height) && u32(column) < u32(width);
    const u64 at = channel + i64(row * width + column);
#pragma unroll
    for (int i = 0; i < Share::COUNT; ++i)
      v[i] = in_image ? gradient<T>(image, MASKED ? mask : nullptr, at + u64(i * Share::STEP) * plane) : T(0);
    const int to = taps.advance();
    column = to == 1 ? column + right : left;
    if (to == 2) row += down;
    if (to == 3) {
      row = top;
      channel += u64(BK) * plane;
    }
  }
};

// The offsets between the weights of consecutive taps: within a row, from the end of a row to the next row, and from the last tap
// to the first.
struct TapSteps {
  int tap, row, all;

  __device__ __forceinline__ TapSteps(Taps taps, int across, int down)
      : tap(across), row(down - int(taps.columns - 1) * across),
        all(-int(taps.rows - 1) * down - int(taps.columns - 1) * across) {}
};

// The A slab: the weights of one tap, at weight + mn mn_stride + channel channel_stride.
template <typename T, int B, int BK, bool K_MAJOR>
struct TapWeights : SlabShare<T, B, BK, K_MAJOR> {
  using Share = SlabShare<T, B, BK, K_MAJOR>;
  // The thread's first weight of the tap.
  const T* weight;
  Taps taps;
  TapSteps steps;
  u64 step, channel_stride;
  // The number of rows (mn) from the thread's first on.
  int rows;

  __device__ __forceinline__ TapWeights(const T* weight, Taps taps, TapSteps steps, u64 mn_stride, u64 channel_stride, u64 rows)
      : weight(weight + Share::mn() * mn_stride + Share::k() * channel_stride), taps(taps), steps(steps),
        step(Share::STEP * (K_MAJOR ? mn_stride : channel_stride)), channel_stride(channel_stride),
        rows(int(rows < B ? rows : B) - Share::mn()) {}

  __device__ __forceinline__ void load(u64, u64, T (&v)[Share::COUNT]) {
#pragma unroll
    for (int i = 0; i < Share::COUNT; ++i) v[i] = rows > (K_MAJOR ? i * Share::STEP : 0) ? weight[i * step] : T(0);
    const int to = taps.advance();
    weight += to == 1 ? steps.tap : to == 2 ? steps.row : steps.all;
    if (to == 3) weight += BK * channel_stride;
  }
};

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void forward(const ConvParams& p) {
  const u32 group = blockIdx.y, tiles_m = (p.group_out + B - 1) / B;
  const u64 row = blockIdx.x % tiles_m * B, column = u64(blockIdx.x / tiles_m) * B;
  const u64 k = u64(p.group_in) * p.taps.size, pixel = column + threadIdx.x % B;
  const bool inside = pixel < p.pixels;
  const Taps taps(p.taps.size / p.tap_width.size, p.tap_width.size);
  u32 image, i, j;
  split_pixel(p.out_plane, p.out_width, inside ? u32(pixel) : 0, image, i, j);
  const T* w = static_cast<const T*>(p.weight) + (u64(group) * p.group_out + row) * k;
  TapWeights<T, B, BK, true> load_w(w, taps, TapSteps(taps, 1, p.tap_width.size), k, p.taps.size, p.group_out - row);
  TapPixels<T, B, BK, false> load_x(p.x, nullptr, taps, (u64(image) * p.ci + u64(group) * p.group_in) * p.h * p.w, p.h, p.w,
                                   int(i * p.stride_h) - int(p.pad_h), int(j * p.stride_w) - int(p.pad_w), p.dil_h, p.dil_w,
                                   inside);
  T sum[PER][PER];
  NoSums none;
  gemm<T, B, B, BK, PER, PER, 2 * GEMM_UNROLL<T, PER, 1>>(load_w, load_x, 0, k, sum, none);
  store_forward<B>(p, group, row, column, sum);
}

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void grad_input(const ConvParams& p) {
  const u32 phases = p.stride_h * p.stride_w, group = blockIdx.y / phases;
  const Phase phase(p, blockIdx.y % phases);
  const u32 tiles_m = (p.group_in + B - 1) / B;
  const u64 row = blockIdx.x % tiles_m * B, column = u64(blockIdx.x / tiles_m) * B;
  if (column >= phase.pixels) return;  // the whole block
  const u64 pixel = column + threadIdx.x % B;
  const bool inside = pixel < phase.pixels;
  const u32 at = inside ? u32(pixel) : 0, plane = phase.down.count * phase.across.count;
  const u32 image = at / plane, rest = at - image * plane, i = rest / phase.across.count, j = rest - i * phase.across.count;
  const Taps taps(phase.down.taps, phase.across.taps);
  const T* w = static_cast<const T*>(p.weight) + (u64(group) * p.group_out * p.group_in + row) * p.taps.size +
               phase.down.tap * p.tap_width.size + phase.across.tap;
  TapWeights<T, B, BK, false> load_w(w, taps, TapSteps(taps, phase.across.tap_step, phase.down.tap_step * p.tap_width.size),
                                     p.taps.size, u64(p.group_in) * p.taps.size, p.group_in - row);
  TapPixels<T, B, BK, PER != 8> load_g(p.x, p.mask, taps, (u64(image) * p.co + u64(group) * p.group_out) * p.out_plane.size,
                                       p.oh, p.ow, int(i) + phase.down.start, int(j) + phase.across.start,
                                       -int(phase.down.out_step), -int(phase.across.out_step), inside);
  T sum[PER][PER];
  NoSums none;
  const u64 k = u64(p.group_out) * phase.down.taps * phase.across.taps;
  gemm<T, B, B, BK, PER, PER, GEMM_UNROLL<T, PER, 1>>(load_w, load_g, 0, k, sum, none);
  store_grad_input<B>(p, phase, group, row, column, sum);
}

GEMM_KERNELS(conv_tap_forward, ConvParams, forward)
GEMM_KERNELS(conv_tap_grad_input, ConvParams, grad_input)
