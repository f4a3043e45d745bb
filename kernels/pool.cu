// Pooling of planes [h, w] and its gradients; x is [planes, h, w], y and g are [planes, oh, ow], all contiguous.
//
//   max   y[i][j] = max over (a, b) of x[i sy + a dy - py][j sx + b dx - px], index[i][j] = row w + column of the maximum
//   avg   y[i][j] = sum over (a, b) of the same / count
//
//   pool_max_TYPE       over cells of the plane only; ties go to the first cell, and the first NaN precedes all numbers
//   pool_max_grad_TYPE  gx[row][column] = sum of g over the windows whose index it is
//   pool_avg_TYPE       count is kh kw, or the number of the window's cells within the plane
//   pool_avg_grad_TYPE  gx[row][column] = sum of g / count over the windows that cover it; without dilation, which core refuses
//   pool_OP_halve_TYPE  each of the four for 2 x 2 windows with stride 2 that cover even planes
//   pool_OP_wide_TYPE   max and avg for wide windows: a warp per window
//
// Gradients gather: each cell reads the windows that may cover it, row by row, so sums have a fixed order and nothing is cleared
// first. Averages add up to 32 terms in the element type and the results of that in double. Launch: a grid-stride loop of blocks
// of 256 threads, an output per thread and iteration (halve: a window; wide: a window per warp). Cost: one read and one write per
// element; overlapping windows read from cache. Overwrites its outputs.
// Budget: 64 registers, 0 bytes of shared memory.
#include "common.cuh"

// Mirrors `PoolParams` in pool.rs. Pairs are for rows and columns.
struct PoolParams {
  // x, or g
  const void* in;
  // y, or gx
  void* out;
  // [planes, oh, ow]: offsets in the plane, written by max and read by its gradient
  i32* indices;
  // The items of the launch: elements of out, or windows.
  u64 items;
  // The items of a plane and of a row; and whether there are 2^31 items or more.
  Divisor plane;
  Divisor row;
  u32 wide;
  i32 h;
  i32 w;
  i32 oh;
  i32 ow;
  i32 kernel[2];
  i32 padding[2];
  i32 dilation[2];
  Divisor stride[2];
  // Whether an average counts the padding.
  u32 include_pad;
};

// The coordinates of item i.
struct Cell {
  u64 plane;
  i32 row;
  i32 column;
};
__device__ __forceinline__ Cell cell_of(const PoolParams& p, u64 i) {
  Cell cell;
  cell.plane = p.wide ? i / p.plane.size : divide(p.plane, u32(i));
  const u32 rest = u32(i - cell.plane * p.plane.size);
  cell.row = i32(divide(p.row, rest));
  cell.column = i32(rest - u32(cell.row) * p.row.size);
  return cell;
}

template <typename T>
__device__ __forceinline__ const T* input_plane(const PoolParams& p, u64 plane) {
  return static_cast<const T*>(p.in) + plane * u64(p.h) * u64(p.w);
}

// Whether `candidate` replaces `best`: it is greater, or the first NaN.
template <typename T>
__device__ __forceinline__ bool replaces(T candidate, T best) {
  return candidate > best || (candidate != candidate && best == best);
}

// The part of a window within the plane along one axis: `count` coordinates from `first` on, `step` distance.
struct Span {
  i32 first;
  i32 step;
  i32 count;
};
__device__ __forceinline__ Span span_of(const PoolParams& p, int axis, i32 window, i32 size) {
  const i32 begin = window * i32(p.stride[axis].size) - p.padding[axis], step = p.dilation[axis];
  i32 before = 0, end = p.kernel[axis];
  // Only windows that cross an edge divide.
  if (begin < 0) before = (step - 1 - begin) / step;
  if (begin + (end - 1) * step >= size) end = (size - 1 - begin) / step + 1;
  return {begin + before * step, step, end - before};
}

// The maximum of a window and its offset in the plane, -1 if there is none. Lanes read interleaved columns.
template <typename T>
struct ArgMax {
  T value;
  i32 at;
};
template <typename T>
__device__ __forceinline__ ArgMax<T> best_of(const PoolParams& p, const Cell& window, int lane, int lanes) {
  const T* x = input_plane<T>(p, window.plane);
  const Span rows = span_of(p, 0, window.row, p.h), columns = span_of(p, 1, window.column, p.w);
  ArgMax<T> best = {T(0), -1};
#pragma unroll 1
  for (i32 a = 0; a < rows.count; ++a) {
    const i32 row = (rows.first + a * rows.step) * p.w + columns.first;
    for (i32 b = lane; b < columns.count; b += lanes) {
      const i32 at = row + b * columns.step;
      const T v = x[at];
      if (best.at < 0 || replaces(v, best.value)) best = {v, at};
    }
  }
  return best;
}

// The sum of many terms: of up to 32 in T, and of those sums in double.
template <typename T>
struct LongSum {
  T partial;
  double total;
  u32 count;

  __device__ __forceinline__ void add(T x) {
    partial += x;
    if (++count % 32 == 0) {
      total += partial;
      partial = T(0);
    }
  }
  __device__ __forceinline__ double value() const { return total + partial; }
};

// The sum of a window's elements.
template <typename T>
__device__ __forceinline__ double sum_of_taps(const PoolParams& p, u64 plane, Span rows, Span columns, int lane, int lanes) {
  const T* x = input_plane<T>(p, plane);
  LongSum<T> sum = {};
#pragma unroll 1
  for (i32 a = 0; a < rows.count; ++a) {
    const T* row = x + (rows.first + a * rows.step) * p.w + columns.first;
    for (i32 b = lane; b < columns.count; b += lanes) sum.add(row[b * columns.step]);
  }
  return sum.value();
}

template <typename T>
__device__ __forceinline__ T mean_of(const PoolParams& p, double sum, i32 cells) {
  return T(sum / (p.include_pad ? double(p.kernel[0]) * p.kernel[1] : cells));
}

template <typename T>
__device__ __forceinline__ void max_forward(const PoolParams& p) {
  for (u64 i = thread_index(); i < p.items; i += thread_count()) {
    const ArgMax<T> best = best_of<T>(p, cell_of(p, i), 0, 1);
    static_cast<T*>(p.out)[i] = best.value;
    p.indices[i] = best.at;
  }
}

template <typename T>
__device__ __forceinline__ void avg_forward(const PoolParams& p) {
  for (u64 i = thread_index(); i < p.items; i += thread_count()) {
    const Cell window = cell_of(p, i);
    const Span rows = span_of(p, 0, window.row, p.h), columns = span_of(p, 1, window.column, p.w);
    const double sum = sum_of_taps<T>(p, window.plane, rows, columns, 0, 1);
    static_cast<T*>(p.out)[i] = mean_of<T>(p, sum, rows.count * columns.count);
  }
}

// A warp per window: adjacent lanes read adjacent columns. The trip count is uniform in a warp.
template <typename T>
__device__ __forceinline__ void max_wide(const PoolParams& p) {
  const int lane = threadIdx.x % WARP;
  for (u64 i = thread_index() / WARP; i < p.items; i += thread_count() / WARP) {
    ArgMax<T> best = best_of<T>(p, cell_of(p, i), lane, WARP);
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
      const T value = __shfl_xor_sync(FULL_WARP, best.value, distance);
      const i32 at = __shfl_xor_sync(FULL_WARP, best.at, distance);
      // Ties, and several NaN, go to the smaller offset.
      const bool tie = value == best.value || (value != value && best.value != best.value);
      if (at >= 0 && (best.at < 0 || (tie ? at < best.at : replaces(value, best.value)))) best = {value, at};
    }
    if (lane == 0) {
      static_cast<T*>(p.out)[i] = best.value;
      p.indices[i] = best.at;
    }
  }
}

template <typename T>
__device__ __forceinline__ void avg_wide(const PoolParams& p) {
  const int lane = threadIdx.x % WARP;
  for (u64 i = thread_index() / WARP; i < p.items; i += thread_count() / WARP) {
    const Cell window = cell_of(p, i);
    const Span rows = span_of(p, 0, window.row, p.h), columns = span_of(p, 1, window.column, p.w);
    const double sum = warp_reduce(sum_of_taps<T>(p, window.plane, rows, columns, lane, WARP), Sum());
    if (lane == 0) static_cast<T*>(p.out)[i] = mean_of<T>(p, sum, rows.count * columns.count);
  }
}

// The windows first..last that may cover a coordinate along one axis: those that begin at most a window's extent before it.
__device__ __forceinline__ void covering(const PoolParams& p, int axis, i32 at, i32 windows, i32& first, i32& last) {
  const i32 end = at + p.padding[axis];
  const i32 begin = end - (p.kernel[axis] - 1) * p.dilation[axis];
  first = begin <= 0 ? 0 : i32(divide(p.stride[axis], u32(begin) + p.stride[axis].size - 1));
  last = i32(divide(p.stride[axis], u32(end))) + 1;
  if (last > windows) last = windows;
}

template <typename T>
__device__ __forceinline__ void max_grad(const PoolParams& p) {
  for (u64 i = thread_index(); i < p.items; i += thread_count()) {
    const Cell cell = cell_of(p, i);
    const T* g = static_cast<const T*>(p.in) + cell.plane * u64(p.oh) * u64(p.ow);
    const i32* indices = p.indices + cell.plane * u64(p.oh) * u64(p.ow);
    const i32 own = cell.row * p.w + cell.column;
    i32 top, bottom, left, right;
    covering(p, 0, cell.row, p.oh, top, bottom);
    covering(p, 1, cell.column, p.ow, left, right);
    T sum = T(0);
    for (i32 row = top; row < bottom; ++row)
      for (i32 column = left; column < right; ++column)
        if (indices[row * p.ow + column] == own) sum += g[row * p.ow + column];
    static_cast<T*>(p.out)[i] = sum;
  }
}

template <typename T>
__device__ __forceinline__ void avg_grad(const PoolParams& p) {
  for (u64 i = thread_index(); i < p.items; i += thread_count()) {
    const Cell cell = cell_of(p, i);
    const T* g = static_cast<const T*>(p.in) + cell.plane * u64(p.oh) * u64(p.ow);
    i32 top, bottom, left, right;
    covering(p, 0, cell.row, p.oh, top, bottom);
    covering(p, 1, cell.column, p.ow, left, right);
    LongSum<T> sum = {};
    for (i32 row = top; row < bottom; ++row) {
      const i32 rows = p.include_pad ? 1 : span_of(p, 0, row, p.h).count;
      for (i32 column = left; column < right; ++column) {
        const T share = g[row * p.ow + column];
        sum.add(p.include_pad ? share : share / T(rows * span_of(p, 1, column, p.w).count));
      }
    }
    static_cast<T*>(p.out)[i] = p.include_pad ? T(sum.value() / (double(p.kernel[0]) * p.kernel[1])) : T(sum.value());
  }
}

// ---- 2 x 2 windows with stride 2: no bounds checks, and two elements per access ----

template <typename T>
struct __align__(sizeof(T) * 2) Pair {
  T v[2];
};

// The offset of window i in its plane, and pointers to its two rows.
template <typename T, typename P>
struct Quad {
  P* upper;
  P* lower;
  i32 at;
  __device__ __forceinline__ Quad(const PoolParams& p, T* planes, u64 i) {
    const Cell window = cell_of(p, i);
    at = 2 * window.row * p.w + 2 * window.column;
    T* first = planes + window.plane * u64(p.h) * u64(p.w) + at;
    upper = reinterpret_cast<P*>(first);
    lower = reinterpret_cast<P*>(first + p.w);
  }
};

template <typename T>
__device__ __forceinline__ void max_halve(const PoolParams& p) {
  for (u64 i = thread_index(); i < p.items; i += thread_count()) {
    const Quad<const T, const Pair<T>> quad(p, static_cast<const T*>(p.in), i);
    const Pair<T> upper = *quad.upper, lower = *quad.lower;
    ArgMax<T> best = {upper.v[0], quad.at};
    if (replaces(upper.v[1], best.value)) best = {upper.v[1], quad.at + 1};
    if (replaces(lower.v[0], best.value)) best = {lower.v[0], quad.at + p.w};
    if (replaces(lower.v[1], best.value)) best = {lower.v[1], quad.at + p.w + 1};
    static_cast<T*>(p.out)[i] = best.value;
    p.indices[i] = best.at;
  }
}

template <typename T>
__device__ __forceinline__ void max_grad_halve(const PoolParams& p) {
  for (u64 i = thread_index(); i < p.items; i += thread_count()) {
    const Quad<T, Pair<T>> quad(p, static_cast<T*>(p.out), i);
    const T g = static_cast<const T*>(p.in)[i];
    const i32 which = p.indices[i] - quad.at;
    *quad.upper = {{which == 0 ? g : T(0), which == 1 ? g : T(0)}};
    *quad.lower = {{which == p.w ? g : T(0), which == p.w + 1 ? g : T(0)}};
  }
}

template <typename T>
__device__ __forceinline__ void avg_halve(const PoolParams& p) {
  for (u64 i = thread_index(); i < p.items; i += thread_count()) {
    const Quad<const T, const Pair<T>> quad(p, static_cast<const T*>(p.in), i);
    const Pair<T> upper = *quad.upper, lower = *quad.lower;
    static_cast<T*>(p.out)[i] = ((upper.v[0] + upper.v[1]) + (lower.v[0] + lower.v[1])) * T(0.25);
  }
}

template <typename T>
__device__ __forceinline__ void avg_grad_halve(const PoolParams& p) {
  for (u64 i = thread_index(); i < p.items; i += thread_count()) {
    const Quad<T, Pair<T>> quad(p, static_cast<T*>(p.out), i);
    const T share = static_cast<const T*>(p.in)[i] * T(0.25);
    *quad.upper = {{share, share}};
    *quad.lower = {{share, share}};
  }
}

#define POOL(name, suffix, ...) \
  KERNEL(pool_##name##_##suffix, PoolParams, THREADS) { __VA_ARGS__(p); }
#define POOLS(suffix, T)                              \
  POOL(max, suffix, max_forward<T>)                   \
  POOL(max_wide, suffix, max_wide<T>)                 \
  POOL(max_halve, suffix, max_halve<T>)               \
  POOL(max_grad, suffix, max_grad<T>)                 \
  POOL(max_grad_halve, suffix, max_grad_halve<T>)     \
  POOL(avg, suffix, avg_forward<T>)                   \
  POOL(avg_wide, suffix, avg_wide<T>)                 \
  POOL(avg_halve, suffix, avg_halve<T>)               \
  POOL(avg_grad, suffix, avg_grad<T>)                 \
  POOL(avg_grad_halve, suffix, avg_grad_halve<T>)
POOLS(f32, float)
POOLS(f64, double)
