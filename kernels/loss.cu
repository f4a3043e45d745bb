// Cross-entropy of logits and class indices, and its gradient.
//
//   loss_rows_TYPE   statistics[i] = max[i] and rest[i] (softmax.cuh), mean = 1/n times the sum of
//                    log1p(rest[i]) + (max[i] - x[i][target[i]]); 2^team_log threads of a warp per row
//   loss_long_TYPE   the same with a block of 256 threads per row
//   loss_grad_TYPE   out[i][j] = (exp(x[i][j] - max[i]) / (1 + rest[i]) - [j == target[i]]) g / n
//
// A target outside 0..c is recorded as a bad index by the first two, and its row counts as 0. The losses of a block are added
// in f64 and left in `partial`; the last block adds those in order, so that the mean is made by the same launch. Cost: one
// read of the logits, and one write for the gradient; one exponential per element. Overwrites its outputs.
// Budget: 64 registers, 256 bytes of shared memory.
#include "map.cuh"
#include "softmax.cuh"

// Mirrors `LossParams` in loss.rs.
struct LossParams {
  const void* x;        // [n][c]
  const i32* target;    // [n]
  void* statistics;     // [n][2]: max, rest
  void* mean;           // [1]
  double* partial;      // [blocks]
  u32* counter;
  BadIndex* bad_index;
  u64 n;
  u64 c;
  u32 op;               // by which a bad index is recorded
  u32 team_log;
};

// Mirrors `LossGradParams` in loss.rs.
struct LossGradParams {
  Walk walk;                // [n, c]
  Operand x;                // [n][c]
  Operand out;              // [n][c]
  const i32* target;        // [n]
  const void* statistics;   // [n][2]
  const void* g;            // [1]
};

// A row's statistics are written, and its loss is given.
template <typename T>
__device__ __forceinline__ double row_loss(const LossParams& p, u64 row, Online<T> a) {
  a.rest = rest_of(a);
  static_cast<Online<T>*>(p.statistics)[row] = a;
  const i32 target = p.target[row];
  if (!check_index(p.bad_index, p.op, target, p.c)) return 0;
  const T x = static_cast<const T*>(p.x)[row * p.c + u32(target)];
  return double(log1p_of(a.rest)) + (double(a.max) - double(x));
}

// The mean over all rows, from what each thread of the grid has.
template <typename T>
__device__ __forceinline__ void join_losses(const LossParams& p, double loss) {
  loss = block_reduce<THREADS>(loss, 0.0, Sum());
  if (gridDim.x > 1) {
    if (threadIdx.x == 0) p.partial[blockIdx.x] = loss;
    if (!last_block(p.counter, gridDim.x)) return;
    loss = 0;
    for (u32 i = threadIdx.x; i < gridDim.x; i += THREADS) loss += p.partial[i];
    loss = block_reduce<THREADS>(loss, 0.0, Sum());
  }
  if (threadIdx.x == 0) *static_cast<T*>(p.mean) = T(loss / double(p.n));
}

template <typename T>
__device__ __forceinline__ void rows(const LossParams& p) {
  const u32 team = 1u << p.team_log, lane = threadIdx.x & (team - 1);
  const u64 row = thread_index() >> p.team_log;
  const bool exists = row < p.n;
  Online<T> a = online_start<T>();
  if (exists) a = online_row(static_cast<const T*>(p.x) + row * p.c, p.c, lane, team);
  a = online_team(a, team);
  join_losses<T>(p, exists && lane == 0 ? row_loss<T>(p, row, a) : 0);
}

template <typename T>
__device__ __forceinline__ void long_row(const LossParams& p) {
  const u64 row = blockIdx.x;
  const Online<T> a = online_block<THREADS>(online_row(static_cast<const T*>(p.x) + row * p.c, p.c, threadIdx.x, THREADS));
  join_losses<T>(p, threadIdx.x == 0 ? row_loss<T>(p, row, a) : 0);
}

template <typename T>
__device__ __forceinline__ void grad(const LossGradParams& p) {
  const u64 c = p.walk.sizes[1];
  const T scale = *static_cast<const T*>(p.g) / T(p.walk.sizes[0]);
  const Online<T>* statistics = static_cast<const Online<T>*>(p.statistics);
  each_four(p.walk.numel, [&](u64 i, int count) {
    T x[4] = {};
    load<T>(p.walk, p.x, i, count, x);
    u64 row = p.walk.wide ? i / c : (__umulhi(u32(i), p.walk.magics[1]) + u32(i)) >> p.walk.shifts[1];
    u64 column = i - row * c;
    i32 target = p.target[row];
    Online<T> a = statistics[row];
    T share = T(1) / (T(1) + a.rest);
    T r[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (k < count && column == c) {
        column = 0;
        target = p.target[++row];
        a = statistics[row];
        share = T(1) / (T(1) + a.rest);
      }
      // softmax - 1 would cancel where the class is the likely one, and lose digits to a product with the scale.
      T s = exp_of(x[k] - a.max) * share;
      if (target >= 0 && u64(target) == column) s = x[k] == a.max ? -a.rest * share : s - T(1);
      r[k] = target >= 0 && u64(target) < c ? s * scale : T(0);
      ++column;
    }
    store<T>(p.walk, p.out, i, count, r);
  });
}

#define KERNELS(suffix, T)                                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS, 1) loss_rows_##suffix(const __grid_constant__ LossParams p) {      \
    rows<T>(p);                                                                                                          \
  }                                                                                                                      \
  extern "C" __global__ void __launch_bounds__(THREADS, 1) loss_long_##suffix(const __grid_constant__ LossParams p) {      \
    long_row<T>(p);                                                                                                      \
  }                                                                                                                      \
  extern "C" __global__ void __launch_bounds__(THREADS, 1) loss_grad_##suffix(const __grid_constant__ LossGradParams p) {  \
    grad<T>(p);                                                                                                          \
  }
KERNELS(f32, float)
KERNELS(f64, double)
