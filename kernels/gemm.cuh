// The tiled matrix product behind matmul and convolution: C[m, n] = sum over k of A[m, k] B[k, n].
//
// A block of 256 threads computes one BM x BN tile of C in steps of BK along k: it copies a BM x BK slab of A and a BK x BN slab
// of B into shared memory, from which each thread computes its share of the tile. An element is read from global memory once per
// tile instead of once per result; the larger the tile, the fewer reads.
//
//      B slab   BK x BN                        the 16 x 16 threads of a block are 8 warps of 4 x 8 threads; a
//             +--------------+                 thread accumulates TM x TN results in registers, in fragments of
//             |  k goes down |                 at most 4 x 4 that are spread over the tile:
//   A slab    +--------------+
//   BM x BK   |  C tile      |   block tile      | w0 w1 |    warp   | t0 t1 .. t7  |
//   +-----+   |  BM x BN     |   of 4 x 2 warps  | w2 w3 |    of     | t8 ..        |
//   |  k> |   |              |                   | w4 w5 |    4 x 8  | ..           |
//   +-----+   +--------------+                   | w6 w7 |           | t24 ..   t31 |
//
// For each k a thread reads TM + TN elements from shared memory and does TM TN multiply-adds: at 8 x 8, arithmetic is the
// bottleneck, not shared memory. The slabs are double-buffered: before the threads compute from one pair of slabs, they load the
// elements of the next step into registers; afterwards they store them into the other pair. A step has a single barrier.
//
// Loaders read A and B, each in its layout: a matrix with any strides, or the windows of an image (implicit GEMM).
// `load(first, last, v)` reads the thread's share of the slab k = first .. first + BK from global memory, with zeros for k from
// `last` on; `store(slab, v)` writes it to slab[k][mn]. `mn` is the dimension of an operand that is not k: m for A, n for B.
#pragma once
#include "common.cuh"

#define GEMM_THREADS 256

// Padding of a slab's rows, so that the stores of a column go to different banks.
#define GEMM_PAD 4

// The position of this thread among 16 x 16.
__device__ __forceinline__ int gemm_row() { return int(threadIdx.x) / 64 * 4 + int(threadIdx.x) % 32 / 8; }
__device__ __forceinline__ int gemm_column() { return int(threadIdx.x) / 32 % 2 * 8 + int(threadIdx.x) % 8; }

// The row (or column) in the tile of result i of the thread at `position`. A thread's results are in fragments of C adjacent
// ones.
template <int B, int PER>
__device__ __forceinline__ int gemm_offset(int position, int i) {
  constexpr int C = PER < 4 ? PER : 4;
  return i / C * (B / (PER / C)) + position * C + i % C;
}

template <typename T, int N>
struct __align__(sizeof(T) * N > 16 ? 16 : sizeof(T) * N) Fragment {
  T v[N];
};

// A thread's share of a slab: COUNT elements. If K_MAJOR, they are STEP apart along mn, and adjacent threads are adjacent along
// k; else the reverse.
template <typename T, int B, int BK, bool K_MAJOR>
struct SlabShare {
  static constexpr int COUNT = B * BK / GEMM_THREADS, ACROSS = K_MAJOR ? BK : B, STEP = GEMM_THREADS / ACROSS;

  // The position of the thread's first element.
  static __device__ __forceinline__ int k() { return K_MAJOR ? int(threadIdx.x) % ACROSS : int(threadIdx.x) / ACROSS; }
  static __device__ __forceinline__ int mn() { return K_MAJOR ? int(threadIdx.x) / ACROSS : int(threadIdx.x) % ACROSS; }

  __device__ __forceinline__ void store(T (&slab)[BK][B + GEMM_PAD], const T (&v)[COUNT]) const {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) slab[k() + (K_MAJOR ? 0 : i * STEP)][mn() + (K_MAJOR ? i * STEP : 0)] = v[i];
  }
};

// The sums of the rows of A, computed along with the product: if the product is the gradient of a weight, they are that of the
// bias. In blocks with `wanted`, all threads sum from the slabs in shared memory.
template <typename T, int B, int BK>
struct RowSums {
  static constexpr int PARTS = GEMM_THREADS / B, EACH = BK / PARTS;
  // The sum of row threadIdx.x % B over this thread's share of k.
  T sum;
  bool wanted;

  __device__ __forceinline__ explicit RowSums(bool wanted) : sum(T(0)), wanted(wanted) {}

  __device__ __forceinline__ void add(const T (&slab)[BK][B + GEMM_PAD]) {
    if (!wanted) return;
#pragma unroll
    for (int i = 0; i < EACH; ++i) sum += slab[int(threadIdx.x) / B * EACH + i][int(threadIdx.x) % B];
  }
  // Writes the sums of the tile's first `rows` rows. All threads of the block call it.
  __device__ __forceinline__ void store(T* out, u64 rows) const {
    __shared__ T shares[GEMM_THREADS];
    if (!wanted) return;
    shares[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= B || threadIdx.x >= rows) return;
    T total = shares[threadIdx.x];
#pragma unroll
    for (int part = 1; part < PARTS; ++part) total += shares[part * B + threadIdx.x];
    out[threadIdx.x] = total;
  }
};

struct NoSums {
  template <typename Rows>
  __device__ __forceinline__ void add(const Rows&) const {}
};

// The unroll factor of the loop over k, limited by registers. LARGEST is that of the largest tile, which depends on the loaders.
template <typename T, int PER, int LARGEST>
constexpr int GEMM_UNROLL = PER == 8 ? LARGEST : PER == 4 && sizeof(T) == 8 ? 1 : 4;

// The thread's TM x TN sums over k in first .. last. A larger UNROLL needs more registers; two blocks of the largest tile per
// multiprocessor leave 128 registers to a thread.
template <typename T, int BM, int BN, int BK, int TM, int TN, int UNROLL, typename LoadA, typename LoadB, typename Sums>
__device__ __forceinline__ void gemm(LoadA& a, LoadB& b, u64 first, u64 last, T (&sum)[TM][TN], Sums& rows) {
  static_assert(BM / TM == 16 && BN / TN == 16, "a block has 16 x 16 threads");
  constexpr int CM = TM < 4 ? TM : 4, CN = TN < 4 ? TN : 4;
  __shared__ __align__(16) T slab_a[2][BK][BM + GEMM_PAD];
  __shared__ __align__(16) T slab_b[2][BK][BN + GEMM_PAD];
  const int row = gemm_row(), column = gemm_column();
  T next_a[BM * BK / GEMM_THREADS], next_b[BN * BK / GEMM_THREADS];
#pragma unroll
  for (int i = 0; i < TM; ++i)
#pragma unroll
    for (int j = 0; j < TN; ++j) sum[i][j] = T(0);
  if (first >= last) return;
  a.load(first, last, next_a);
  b.load(first, last, next_b);
  a.store(slab_a[0], next_a);
  b.store(slab_b[0], next_b);
  __syncthreads();
  int now = 0;
#pragma unroll 1
  for (u64 k = first; k < last; k += BK) {
    const bool more = k + BK < last;
    if (more) {
      a.load(k + BK, last, next_a);
      b.load(k + BK, last, next_b);
    }
#pragma unroll(UNROLL)
    for (int kk = 0; kk < BK; ++kk) {
      T from_a[TM], from_b[TN];
#pragma unroll 4
      for (int i = 0; i < TM; i += CM) {
        const Fragment<T, CM> fragment = *reinterpret_cast<const Fragment<T, CM>*>(&slab_a[now][kk][gemm_offset<BM, TM>(row, i)]);
#pragma unroll
        for (int c = 0; c < CM; ++c) from_a[i + c] = fragment.v[c];
      }
#pragma unroll
      for (int j = 0; j < TN; j += CN) {
        const Fragment<T, CN> fragment =
            *reinterpret_cast<const Fragment<T, CN>*>(&slab_b[now][kk][gemm_offset<BN, TN>(column, j)]);
#pragma unroll
        for (int c = 0; c < CN; ++c) from_b[j + c] = fragment.v[c];
      }
#pragma unroll
      for (int i = 0; i < TM; ++i)
#pragma unroll
        for (int j = 0; j < TN; ++j) sum[i][j] = fma_of(from_a[i], from_b[j], sum[i][j]);
    }
    rows.add(slab_a[now]);
    now ^= 1;
    if (more) {
      // All threads have read these slabs before the last barrier.
      a.store(slab_a[now], next_a);
      b.store(slab_b[now], next_b);
    }
    __syncthreads();
  }
}

// The kernels NAME_SIZE_TYPE, a call of body<T, size, BK, PER> each. PER x PER are the results of a thread.
#define GEMM_KERNEL(name, Params, body, size, suffix, T, BK, PER)                        \
  KERNEL(name##_##size##_##suffix, Params, GEMM_THREADS, PER == 8 ? 2 : 1) {             \
    body<T, size, BK, PER>(p);                                                           \
  }
#define GEMM_KERNELS(name, Params, body)                     \
  GEMM_KERNEL(name, Params, body, 128, f32, float, 8, 8)     \
  GEMM_KERNEL(name, Params, body, 64, f32, float, 16, 4)     \
  GEMM_KERNEL(name, Params, body, 32, f32, float, 32, 2)     \
  GEMM_KERNEL(name, Params, body, 64, f64, double, 16, 4)    \
  GEMM_KERNEL(name, Params, body, 32, f64, double, 32, 2)

// Partial products that one block sums.
#define GEMM_GROUP 16

// gemm_store_partial stores a thread's results, and *extra unless extra is null, as a partial product; gemm_sum_partials sums
// `count` partial products, which are `step` apart, in order.
template <typename T, int TM, int TN>
__device__ __forceinline__ void gemm_store_partial(T* partial, const T (&sum)[TM][TN], const T* extra) {
#pragma unroll
  for (int i = 0; i < TM; ++i)
#pragma unroll
    for (int j = 0; j < TN; ++j) partial[(i * TN + j) * GEMM_THREADS] = sum[i][j];
  if (extra) partial[TM * TN * GEMM_THREADS] = *extra;
}
template <typename T, int TM, int TN>
__device__ __forceinline__ void gemm_sum_partials(const T* partials, u64 step, u32 count, T (&sum)[TM][TN], T* extra) {
#pragma unroll
  for (int i = 0; i < TM; ++i)
#pragma unroll
    for (int j = 0; j < TN; ++j) sum[i][j] = T(0);
  if (extra) *extra = T(0);
  // As many loads in flight as registers allow, to hide the latency of L2.
#pragma unroll(TM * TN * sizeof(T) <= 32 ? 8 : TM * TN * sizeof(T) <= 64 ? 4 : 1)
  for (u32 s = 0; s < count; ++s, partials += step) {
#pragma unroll
    for (int i = 0; i < TM; ++i)
#pragma unroll
      for (int j = 0; j < TN; ++j) sum[i][j] += partials[(i * TN + j) * GEMM_THREADS];
    if (extra) *extra += partials[TM * TN * GEMM_THREADS];
  }
}

// Split-k: if there are few tiles and k is long, `splits` blocks share a tile. Each stores its sums into
// `partials` [tiles, splits, TM TN (+ 1), 256]. The last block to finish of every GEMM_GROUP adjacent splits sums the group, and
// the last of those blocks sums the groups, so that no block reads more than a few dozen partial products in sequence. Only the
// latter returns true, with the total in `sum`. `counters` [tiles, 1 + groups] are 0 before and after.
template <typename T, int TM, int TN>
__device__ __forceinline__ bool gemm_combine_splits(T* partials, u32* counters, u64 tile, u32 split, u32 splits, T (&sum)[TM][TN],
                                          T* extra = nullptr) {
  if (splits == 1) return true;
  const u64 size = (u64(TM) * TN + (extra ? 1 : 0)) * GEMM_THREADS;
  const u32 groups = (splits + GEMM_GROUP - 1) / GEMM_GROUP, group = split / GEMM_GROUP, first = group * GEMM_GROUP;
  const u32 members = smaller_of(u32(GEMM_GROUP), splits - first);
  T* all = partials + tile * splits * size + threadIdx.x;
  counters += tile * (1 + groups);
  gemm_store_partial(all + split * size, sum, extra);
  if (!last_block(counters + 1 + group, members)) return false;
  gemm_sum_partials(all + first * size, size, members, sum, extra);
  if (groups == 1) return true;
  gemm_store_partial(all + first * size, sum, extra);
  if (!last_block(counters, groups)) return false;
  gemm_sum_partials(all, GEMM_GROUP * size, groups, sum, extra);
  return true;
}

// Flags of a matrix operand's access mode. GEMM_K_MAJOR: adjacent threads read along k, else along mn. GEMM_PACKED: in packs of
// four, else by single elements.
#define GEMM_K_MAJOR 1
#define GEMM_PACKED 2

// The loader of a matrix operand with any strides: element (mn, k) is at data[mn * mn_stride + k * k_stride]. In every mode the
// elements (or packs) of a thread are a fixed step apart. Slabs are loaded in order, from k = first on.
//
// A MASKED loader may be given the output of a relu, with the operand's layout. It then applies the relu's gradient to the
// operand.
template <typename T, int B, int BK, bool MASKED = false>
struct MatrixLoader {
  static constexpr int COUNT = B * BK / GEMM_THREADS;

  // The thread's first element of the next slab, and the offset from slab to slab.
  const T* next;
  const T* mask;
  u64 slab_stride;
  // The offset from one of the thread's elements to the next in memory.
  u64 step;
  // The offset of the first of them in the slab, and from one to the next there.
  int slab_offset, slab_step;
  // The number of rows (mn) from the thread's first to the end of the tile or of the matrix; not positive if there are none.
  int rows, k, far_step;
  u32 mode;

  // `data` points to the tile's first row, and `rows` counts from there.
  __device__ __forceinline__ MatrixLoader(const T* data, u64 mn_stride, u64 k_stride, u64 rows, u64 first, u32 mode,
                                          const T* relu = nullptr)
      : slab_stride(BK * k_stride), mode(mode) {
    const int width = mode & GEMM_PACKED ? 4 : 1, thread = threadIdx.x;
    const int across = (mode & GEMM_K_MAJOR ? BK : B) / width;
    const int near = thread % across * width, far = thread / across;
    const int mn = mode & GEMM_K_MAJOR ? far : near;
    k = mode & GEMM_K_MAJOR ? near : far;
    far_step = GEMM_THREADS / across;
    next = data + mn * mn_stride + (first + k) * k_stride;
    mask = MASKED && relu ? relu + mn * mn_stride + (first + k) * k_stride : nullptr;
    step = far_step * (mode & GEMM_K_MAJOR ? mn_stride : k_stride);
    slab_offset = k * (B + GEMM_PAD) + mn;
    slab_step = far_step * (mode & GEMM_K_MAJOR ? 1 : B + GEMM_PAD);
    this->rows = int(rows < B ? rows : B) - mn;
  }

  __device__ __forceinline__ void load(u64 first, u64 last, T (&v)[COUNT]) {
    const T* from = next;
    const T* relu = mask;
    next += slab_stride;
    if (MASKED && mask) mask += slab_stride;
    // The number of elements from the thread's first to the end, along the dimension of adjacent threads (near) and the other
    // (far).
    const int left = int(last - first < BK ? last - first : BK) - k;
    const int near = mode & GEMM_K_MAJOR ? left : rows, far = mode & GEMM_K_MAJOR ? rows : left;
    if (mode & GEMM_PACKED) {
#pragma unroll
      for (int i = 0; i < COUNT / 4; ++i, from += step) {
        if (near >= 4 && far > i * far_step) {
          const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(from);
#pragma unroll
          for (int c = 0; c < 4; ++c) v[4 * i + c] = pack.v[c];
          if (MASKED && relu) {
            const Pack<T> of = *reinterpret_cast<const Pack<T>*>(relu + i * step);
#pragma unroll
            for (int c = 0; c < 4; ++c) v[4 * i + c] = relu_grad(v[4 * i + c], of.v[c]);
          }
        } else {
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            const bool inside = near > c && far > i * far_step;
            v[4 * i + c] = inside ? from[c] : T(0);
            if (MASKED && relu && inside) v[4 * i + c] = relu_grad(v[4 * i + c], relu[i * step + c]);
          }
        }
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < COUNT; ++i, from += step) {
      const bool inside = near > 0 && far > i * far_step;
      v[i] = inside ? *from : T(0);
      if (MASKED && relu && inside) v[i] = relu_grad(v[i], relu[i * step]);
    }
  }

  __device__ __forceinline__ void store(T (&slab)[BK][B + GEMM_PAD], const T (&v)[COUNT]) const {
    T* to = &slab[0][0] + slab_offset;
    if (mode & GEMM_PACKED) {
      const int near_step = mode & GEMM_K_MAJOR ? B + GEMM_PAD : 1;
#pragma unroll
      for (int i = 0; i < COUNT / 4; ++i)
#pragma unroll
        for (int c = 0; c < 4; ++c) to[i * slab_step + c * near_step] = v[4 * i + c];
      return;
    }
#pragma unroll
    for (int i = 0; i < COUNT; ++i) to[i * slab_step] = v[i];
  }
};
