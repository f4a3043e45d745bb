// The forward map of a convolution and its gradient in the input where channels come in whole slabs: as in conv.cu, but k runs over
// slabs of channels, within them over the taps, and within a tap over the channels of the slab.
//
//   conv_tap_forward_SIZE_TYPE      y as in conv.cu
//   conv_tap_grad_input_SIZE_TYPE   gx as in conv.cu
//
// A slab of k is then one tap of BK channels, so where it lies in the image is decided once per slab and not once per element, and no
// index is divided. The taps of some channels follow each other, so that their pixels and weights are still in the L1 cache: the
// weights of neighbouring channels lie taps apart. Channels of a group (of g for grad_input) are a multiple of BK: 8, 16 and 32 for
// tiles of 128, 64 and 32. Grid, cost, layouts, epilogue and masks are those of conv.cu.
// Budget: 128 registers, 18436 bytes of shared memory.
// Budget of conv_tap_forward_32: 128 registers, 36868 bytes of shared memory.
// Budget of conv_tap_grad_input_32: 128 registers, 36868 bytes of shared memory.
// Budget of conv_tap_forward_64: 128 registers, 34820 bytes of shared memory.
// Budget of conv_tap_grad_input_64: 128 registers, 34820 bytes of shared memory.
#include "conv_tile.cuh"

// A walk over rows x columns taps, again and again.
struct Taps {
  u32 rows, columns;
  u32 row, column;

  __device__ __forceinline__ Taps(u32 rows, u32 columns) : rows(rows), columns(columns), row(0), column(0) {}

  // To the next tap. 1: of the row, 2: the first of the next row, 3: the first of all, for the next channels.
  __device__ __forceinline__ int advance() {
    if (++column < columns) return 1;
    column = 0;
    if (++row < rows) return 2;
    row = 0;
    return 3;
  }
};

// Where a pixel's taps lie: element [channel][top + y down][left + x right] of planes of height x width.
template <typename T, int B, int BK, bool MASKED>
struct TapMajor {
  static constexpr int COUNT = B * BK / GEMM_THREADS, STEP = GEMM_THREADS / B;
  const void* image;
  const void* mask;
  Taps taps;
  // Of this thread's first channel in the slab.
  u64 own;
  u32 plane;
  int height, width, top, left, down, right;
  // Of the tap.
  int row, column;
  bool inside;

  // `planes`: where the first plane of the pixel's image begins.
  __device__ __forceinline__ TapMajor(const void* image, const void* mask, Taps taps, u64 planes, u32 height, u32 width, int top,
                                      int left, int down, int right, bool inside)
      : image(image), mask(mask), taps(taps), plane(height * width), height(height), width(width), top(top), left(left),
        down(down), right(right), row(top), column(left), inside(inside) {
    own = planes + u64(threadIdx.x / B) * plane;
  }

  __device__ __forceinline__ void fetch(u64, u64, T (&v)[COUNT]) {
    const bool hit = inside && u32(row) < u32(height) && u32(column) < u32(width);
    const u64 at = own + i64(row * width + column);
#pragma unroll
    for (int i = 0; i < COUNT; ++i) v[i] = hit ? gradient<T>(image, MASKED ? mask : nullptr, at + u64(i * STEP) * plane) : T(0);
    const int to = taps.advance();
    column = to == 1 ? column + right : left;
    if (to == 2) row += down;
    if (to == 3) {
      row = top;
      own += u64(BK) * plane;
    }
  }
  __device__ __forceinline__ void lay(T (&slab)[BK][B + GEMM_PAD], const T (&v)[COUNT]) const {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) slab[int(threadIdx.x) / B + i * STEP][int(threadIdx.x) % B] = v[i];
  }
};

// Elements between the weights of neighbouring taps: in a row, from the last of a row to the first of the next, and from the last of
// all to the first.
struct TapSteps {
  int tap, row, all;

  __device__ __forceinline__ TapSteps(Taps taps, int across, int down)
      : tap(across), row(down - int(taps.columns - 1) * across),
        all(-int(taps.rows - 1) * down - int(taps.columns - 1) * across) {}
};

// The weights of a slab: element (line, channel) of a tap at own + line line_stride + channel channel_stride. Neighbouring threads
// read along k, or along the lines.
template <typename T, int B, int BK, bool K_FIRST>
struct TapWeights {
  static constexpr int COUNT = B * BK / GEMM_THREADS, ACROSS = K_FIRST ? BK : B, STEP = GEMM_THREADS / ACROSS;
  const T* own;
  Taps taps;
  TapSteps steps;
  u64 step, channel_stride;
  int lines;

  __device__ __forceinline__ TapWeights(const T* weight, Taps taps, TapSteps steps, u64 line_stride, u64 channel_stride, u64 lines)
      : taps(taps), steps(steps), step(STEP * (K_FIRST ? line_stride : channel_stride)), channel_stride(channel_stride) {
    own = weight + line() * line_stride + k() * channel_stride;
    this->lines = int(lines < B ? lines : B) - line();
  }
  __device__ __forceinline__ int k() const { return K_FIRST ? int(threadIdx.x) % ACROSS : int(threadIdx.x) / ACROSS; }
  __device__ __forceinline__ int line() const { return K_FIRST ? int(threadIdx.x) / ACROSS : int(threadIdx.x) % ACROSS; }

  __device__ __forceinline__ void fetch(u64, u64, T (&v)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) v[i] = lines > (K_FIRST ? i * STEP : 0) ? own[i * step] : T(0);
    const int to = taps.advance();
    own += to == 1 ? steps.tap : to == 2 ? steps.row : steps.all;
    if (to == 3) own += BK * channel_stride;
  }
  __device__ __forceinline__ void lay(T (&slab)[BK][B + GEMM_PAD], const T (&v)[COUNT]) const {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) slab[k() + (K_FIRST ? 0 : i * STEP)][line() + (K_FIRST ? i * STEP : 0)] = v[i];
  }
};

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void forward(const ConvParams& p) {
  const u32 group = blockIdx.y, tiles_m = (p.group_out + B - 1) / B;
  const u64 row = blockIdx.x % tiles_m * B, column = u64(blockIdx.x / tiles_m) * B;
  const u64 k = u64(p.group_in) * p.taps.size, own = column + threadIdx.x % B;
  const bool inside = own < p.pixels;
  const Taps taps(p.taps.size / p.tap_width.size, p.tap_width.size);
  u32 image, i, j;
  split_pixel(p.out_plane, p.out_width, inside ? u32(own) : 0, image, i, j);
  const T* w = static_cast<const T*>(p.weight) + (u64(group) * p.group_out + row) * k;
  TapWeights<T, B, BK, true> load_w(w, taps, TapSteps(taps, 1, p.tap_width.size), k, p.taps.size, p.group_out - row);
  TapMajor<T, B, BK, false> load_x(p.x, nullptr, taps, (u64(image) * p.ci + u64(group) * p.group_in) * p.h * p.w, p.h, p.w,
                                   int(i * p.stride_h) - int(p.pad_h), int(j * p.stride_w) - int(p.pad_w), p.dil_h, p.dil_w,
                                   inside);
  T sum[PER][PER];
  NoSums none;
  gemm<T, B, B, BK, PER, PER, 2 * GEMM_UNROLL<T, PER, 1>>(load_w, load_x, 0, k, sum, none);
  put_forward<B>(p, group, row, column, sum);
}

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void grad_input(const ConvParams& p) {
  const u32 phases = p.stride_h * p.stride_w, group = blockIdx.y / phases;
  const Phase phase(p, blockIdx.y % phases);
  const u32 tiles_m = (p.group_in + B - 1) / B;
  const u64 row = blockIdx.x % tiles_m * B, column = u64(blockIdx.x / tiles_m) * B;
  if (column >= phase.pixels) return;  // all of the block
  const u64 own = column + threadIdx.x % B;
  const bool inside = own < phase.pixels;
  const u32 at = inside ? u32(own) : 0, plane = phase.height * phase.width;
  const u32 image = at / plane, rest = at - image * plane, i = rest / phase.width;
  const Taps taps(phase.rows, phase.columns);
  const T* w = static_cast<const T*>(p.weight) + (u64(group) * p.group_out * p.group_in + row) * p.taps.size +
               phase.row * p.tap_width.size + phase.column;
  TapWeights<T, B, BK, false> load_w(w, taps, TapSteps(taps, phase.column_tap, phase.row_tap * p.tap_width.size), p.taps.size,
                                     u64(p.group_in) * p.taps.size, p.group_in - row);
  TapMajor<T, B, BK, PER != 8> load_g(p.x, p.mask, taps, (u64(image) * p.co + u64(group) * p.group_out) * p.out_plane.size, p.oh,
                                      p.ow, int(i) + phase.top, int(rest - i * phase.width) + phase.left, -int(phase.row_step),
                                      -int(phase.column_step), inside);
  T sum[PER][PER];
  NoSums none;
  const u64 k = u64(p.group_out) * phase.rows * phase.columns;
  gemm<T, B, B, BK, PER, PER, GEMM_UNROLL<T, PER, 1>>(load_w, load_g, 0, k, sum, none);
  put_grad_input<B>(p, phase, group, row, column, sum);
}

#define CONV(size, suffix, T, BK, PER)                                                    \
  extern "C" __global__ void __launch_bounds__(GEMM_THREADS, PER == 8 ? 2 : 1)            \
      conv_tap_forward_##size##_##suffix(const __grid_constant__ ConvParams p) {          \
    forward<T, size, BK, PER>(p);                                                         \
  }                                                                                       \
  extern "C" __global__ void __launch_bounds__(GEMM_THREADS, PER == 8 ? 2 : 1)            \
      conv_tap_grad_input_##size##_##suffix(const __grid_constant__ ConvParams p) {       \
    grad_input<T, size, BK, PER>(p);                                                      \
  }
CONV(128, f32, float, 8, 8)
CONV(64, f32, float, 16, 4)
CONV(32, f32, float, 32, 2)
CONV(64, f64, double, 16, 4)
CONV(32, f64, double, 32, 2)
