// Cross-entropy with class indices, and its gradient.
//
//   loss_rows_TYPE   statistics[i] = max[i] and rest[i] (softmax.cuh), and the mean over i of
//                    log1p(rest[i]) + (max[i] - x[i][target[i]]); 2^team_log lanes of a warp per row
//   loss_long_TYPE   the same with a block of 256 threads per row
//   loss_grad_TYPE   out[i][j] = (exp(x[i][j] - max[i]) / (1 + rest[i]) - [j == target[i]]) g / n
//
// A target outside of 0..c is recorded as an out-of-range index by the first two kernels, and the loss of its row is 0. The
// losses of a block are summed in f64 and stored in `partial`; the last block sums those in order, so one launch computes the
// mean. Cost: one read of the logits, one write for the gradient, one exponential per element. Overwrites its outputs.
// Budget: 64 registers, 256 bytes of shared memory.
#include "elementwise.cuh"
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
  u32 caller;           // the id of the `Caller`, recorded with an out-of-range target
  u32 team_log;
};

// Mirrors `LossGradParams` in loss.rs.
struct LossGradParams {
  Walk walk;                // [n, c]
  TensorRef x;                // [n][c]
  TensorRef out;              // [n][c]
  const i32* target;        // [n]
  const void* statistics;   // [n][2]
  const void* g;            // [1]
};

// Writes the statistics of a row and returns its loss.
template <typename T>
__device__ __forceinline__ double row_loss(const LossParams& p, u64 row, Online<T> a) {
  a.rest = rest_of(a);
  static_cast<Online<T>*>(p.statistics)[row] = a;
  const i32 target = p.target[row];
  if (!check_index(p.bad_index, p.caller, target, p.c)) return 0;
  const T x = static_cast<const T*>(p.x)[row * p.c + u32(target)];
  return double(log1p_of(a.rest)) + (double(a.max) - double(x));
}

// Writes the mean over all rows; `loss` is the sum of this thread's rows.
template <typename T>
__device__ __forceinline__ void write_mean(const LossParams& p, double loss) {
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
  Online<T> a = online_identity<T>();
  if (exists) a = online_row(static_cast<const T*>(p.x) + row * p.c, p.c, lane, team);
  a = team_reduce(a, team, OnlineMerge());
  write_mean<T>(p, exists && lane == 0 ? row_loss<T>(p, row, a) : 0);
}

template <typename T>
__device__ __forceinline__ void long_row(const LossParams& p) {
  const u64 row = blockIdx.x;
  const Online<T> part = online_row(static_cast<const T*>(p.x) + row * p.c, p.c, threadIdx.x, THREADS);
  const Online<T> a = block_merge<THREADS>(part, OnlineMerge());
  write_mean<T>(p, threadIdx.x == 0 ? row_loss<T>(p, row, a) : 0);
}

template <typename T>
__device__ __forceinline__ void grad(const LossGradParams& p) {
  const u64 c = p.walk.sizes[1];
  const T scale = *static_cast<const T*>(p.g) / T(p.walk.sizes[0]);
  const Online<T>* statistics = static_cast<const Online<T>*>(p.statistics);
  each_four(p.walk.numel, [&](u64 i, int count) {
    T x[4] = {};
    load<T>(p.walk, p.x, i, count, x);
    u64 row = divide(p.walk, 1, i);
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
      // For a likely class softmax - 1 would cancel, so it is computed from the rest.
      T s = exp_of(x[k] - a.max) * share;
      if (target >= 0 && u64(target) == column) s = x[k] == a.max ? -a.rest * share : s - T(1);
      r[k] = target >= 0 && u64(target) < c ? s * scale : T(0);
      ++column;
    }
    store<T>(p.walk, p.out, i, count, r);
  });
}

#define LOSS(suffix, T)                                                   \
  KERNEL(loss_rows_##suffix, LossParams, THREADS, 1) { rows<T>(p); }      \
  KERNEL(loss_long_##suffix, LossParams, THREADS, 1) { long_row<T>(p); }  \
  KERNEL(loss_grad_##suffix, LossGradParams, THREADS, 1) { grad<T>(p); }
LOSS(f32, float)
LOSS(f64, double)
