// The tile engine behind matrix products and convolutions: C[m, n] = sum over k of A[m, k] B[k, n].
//
// A block of 256 threads makes one BM x BN tile of C. It walks along k in steps of BK: the block copies a BM x BK slab of A and
// a BK x BN slab of B into shared memory, and each thread multiplies its share from there. So an element is read from memory
// once per tile and not once per product; the larger the tile, the fewer reads.
//
//      B slab   BK x BN                        the 16 x 16 threads of a block lie in 8 warps of 4 x 8 threads;
//             +--------------+                 a thread owns TM x TN results, held in registers, as chunks of at
//             |  k goes down |                 most 4 x 4 that are spread over the tile:
//   A slab    +--------------+
//   BM x BK   |  C tile      |   block tile      | w0 w1 |    warp   | t0 t1 .. t7  |
//   +-----+   |  BM x BN     |   of 4 x 2 warps  | w2 w3 |    of     | t8 ..        |
//   |  k> |   |              |                   | w4 w5 |    4 x 8  | ..           |
//   +-----+   +--------------+                   | w6 w7 |           | t24 ..   t31 |
//
// Of a step each thread reads TM + TN numbers from shared memory and does TM TN multiply-adds: at 8 x 8 the arithmetic, not
// the shared memory, is the limit. Two slabs of each operand are kept: while the threads compute from one, the numbers of the next
// step travel from memory into registers, and are laid into the other before the one barrier of the step.
//
// Where A and B lie is the loaders' business: a matrix with any strides, or the windows of an image that exist nowhere as a
// matrix. A loader has `fetch(first, last, numbers)`, which reads the thread's share of the slab k = first .. first + BK (zeros
// from `last` on), and `lay(slab, numbers)`, which puts it down as slab[k][line].
#pragma once
#include "common.cuh"

#define GEMM_THREADS 256

// Columns by which a slab's rows are longer than a tile, so that the writes of a column fall into different banks.
#define GEMM_PAD 4

// The place of a thread among 16 x 16.
__device__ __forceinline__ int gemm_row() { return int(threadIdx.x) / 64 * 4 + int(threadIdx.x) % 32 / 8; }
__device__ __forceinline__ int gemm_column() { return int(threadIdx.x) / 32 % 2 * 8 + int(threadIdx.x) % 8; }

// Results of a thread lie in chunks of C neighbours: the line in the tile of its i-th.
template <int B, int PER>
__device__ __forceinline__ int gemm_line(int place, int i) {
  constexpr int C = PER < 4 ? PER : 4;
  return i / C * (B / (PER / C)) + place * C + i % C;
}

template <typename T, int N>
struct __align__(sizeof(T) * N > 16 ? 16 : sizeof(T) * N) Chunk {
  T v[N];
};

// The sums of A's rows beside a product: a bias's gradient is that of the rows of which the weight's gradient is a product. They
// are taken from the slabs in shared memory, by all threads, in the blocks that are told to.
template <typename T, int B, int BK>
struct RowSums {
  static constexpr int PARTS = GEMM_THREADS / B, EACH = BK / PARTS;
  // Of row threadIdx.x % B, over this thread's share of k.
  T sum;
  bool wanted;

  __device__ __forceinline__ explicit RowSums(bool wanted) : sum(T(0)), wanted(wanted) {}

  __device__ __forceinline__ void add(const T (&slab)[BK][B + GEMM_PAD]) {
    if (!wanted) return;
#pragma unroll
    for (int i = 0; i < EACH; ++i) sum += slab[int(threadIdx.x) / B * EACH + i][int(threadIdx.x) % B];
  }
  // Writes the first `rows` of the tile's sums. All threads of the block call it.
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

// Steps of k that are unrolled, as registers allow: LARGEST for the largest tile, whose loaders decide.
template <typename T, int PER, int LARGEST>
constexpr int GEMM_UNROLL = PER == 8 ? LARGEST : PER == 4 && sizeof(T) == 8 ? 1 : 4;

// The thread's TM x TN sums over k in first .. last, UNROLL steps of k at a time: more of them need more registers, of which two
// blocks of the largest tile per multiprocessor leave 128 to a thread.
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
  a.fetch(first, last, next_a);
  b.fetch(first, last, next_b);
  a.lay(slab_a[0], next_a);
  b.lay(slab_b[0], next_b);
  __syncthreads();
  int now = 0;
#pragma unroll 1
  for (u64 k = first; k < last; k += BK) {
    const bool more = k + BK < last;
    if (more) {
      a.fetch(k + BK, last, next_a);
      b.fetch(k + BK, last, next_b);
    }
#pragma unroll(UNROLL)
    for (int kk = 0; kk < BK; ++kk) {
      T from_a[TM], from_b[TN];
#pragma unroll 4
      for (int i = 0; i < TM; i += CM) {
        const Chunk<T, CM> chunk = *reinterpret_cast<const Chunk<T, CM>*>(&slab_a[now][kk][gemm_line<BM, TM>(row, i)]);
#pragma unroll
        for (int c = 0; c < CM; ++c) from_a[i + c] = chunk.v[c];
      }
#pragma unroll
      for (int j = 0; j < TN; j += CN) {
        const Chunk<T, CN> chunk = *reinterpret_cast<const Chunk<T, CN>*>(&slab_b[now][kk][gemm_line<BN, TN>(column, j)]);
#pragma unroll
        for (int c = 0; c < CN; ++c) from_b[j + c] = chunk.v[c];
      }
#pragma unroll
      for (int i = 0; i < TM; ++i)
#pragma unroll
        for (int j = 0; j < TN; ++j) sum[i][j] = fma_of(from_a[i], from_b[j], sum[i][j]);
    }
    rows.add(slab_a[now]);
    now ^= 1;
    if (more) {
      // The other slabs were read before the last barrier.
      a.lay(slab_a[now], next_a);
      b.lay(slab_b[now], next_b);
    }
    __syncthreads();
  }
}

// Parts of a split product that one block adds.
#define GEMM_GROUP 16

// A thread's results, and one number beside them if `extra` is not null, as a part or added up from parts `step` apart, in order.
template <typename T, int TM, int TN>
__device__ __forceinline__ void gemm_put(T* part, const T (&sum)[TM][TN], const T* extra) {
#pragma unroll
  for (int i = 0; i < TM; ++i)
#pragma unroll
    for (int j = 0; j < TN; ++j) part[(i * TN + j) * GEMM_THREADS] = sum[i][j];
  if (extra) part[TM * TN * GEMM_THREADS] = *extra;
}
template <typename T, int TM, int TN>
__device__ __forceinline__ void gemm_add(const T* parts, u64 step, u32 count, T (&sum)[TM][TN], T* extra) {
#pragma unroll
  for (int i = 0; i < TM; ++i)
#pragma unroll
    for (int j = 0; j < TN; ++j) sum[i][j] = T(0);
  if (extra) *extra = T(0);
  // As many loads under way as registers allow: each waits for the L2 cache.
#pragma unroll(TM * TN * sizeof(T) <= 32 ? 8 : TM * TN * sizeof(T) <= 64 ? 4 : 1)
  for (u32 s = 0; s < count; ++s, parts += step) {
#pragma unroll
    for (int i = 0; i < TM; ++i)
#pragma unroll
      for (int j = 0; j < TN; ++j) sum[i][j] += parts[(i * TN + j) * GEMM_THREADS];
    if (extra) *extra += parts[TM * TN * GEMM_THREADS];
  }
}

// A product whose k is long and whose tiles are few is split along k over `splits` blocks per tile. Each puts its sums into
// `parts` [tiles, splits, TM TN (+ 1), 256]. Of every GEMM_GROUP neighbours the block that comes last adds them up, and of those
// blocks the last adds the groups, so that no block reads more than a few dozen parts one after another; it is the only one to return
// true. `counters` [tiles, 1 + groups] are 0 before and after.
template <typename T, int TM, int TN>
__device__ __forceinline__ bool gemm_join(T* parts, u32* counters, u64 tile, u32 split, u32 splits, T (&sum)[TM][TN],
                                          T* extra = nullptr) {
  if (splits == 1) return true;
  const u64 size = (u64(TM) * TN + (extra ? 1 : 0)) * GEMM_THREADS;
  const u32 groups = (splits + GEMM_GROUP - 1) / GEMM_GROUP, group = split / GEMM_GROUP, first = group * GEMM_GROUP;
  const u32 members = smaller_of(u32(GEMM_GROUP), splits - first);
  T* all = parts + tile * splits * size + threadIdx.x;
  counters += tile * (1 + groups);
  gemm_put(all + split * size, sum, extra);
  if (!last_block(counters + 1 + group, members)) return false;
  gemm_add(all + first * size, size, members, sum, extra);
  if (groups == 1) return true;
  gemm_put(all + first * size, sum, extra);
  if (!last_block(counters, groups)) return false;
  gemm_add(all, GEMM_GROUP * size, groups, sum, extra);
  return true;
}

// How a matrix operand is read: along k or along its lines (m or n), by single numbers or by packs of four.
#define ALONG_LINES 0
#define ALONG_K 1
#define PACKS 2

// A matrix operand with any strides: element (line, k) at data[line * line_stride + k * k_stride]. In every mode a thread's
// numbers (or packs) lie a fixed step apart, along the lines or along k. Slabs are fetched in order, from k = first on.
//
// A gradient is read as it is before a relu if its loader is MASKED and given the relu's result, which lies as the gradient does.
template <typename T, int B, int BK, bool MASKED = false>
struct MatrixLoader {
  static constexpr int COUNT = B * BK / GEMM_THREADS;

  // The thread's first number of the next slab, and from a slab to the next.
  const T* own;
  const T* mask;
  u64 k_slab;
  // From one of its numbers to the next: in memory, and in the slab.
  u64 step;
  int place, place_step;
  // Lines from the thread's first to the end of the matrix, as far as a tile reaches: none if that is below 1.
  int lines, k, far_step;
  u32 mode;

  // `lines` counts from the tile's first line, which is where `data` points.
  __device__ __forceinline__ MatrixLoader(const T* data, u64 line_stride, u64 k_stride, u64 lines, u64 first, u32 mode,
                                          const T* relu = nullptr)
      : k_slab(BK * k_stride), mode(mode) {
    const int width = mode & PACKS ? 4 : 1, thread = threadIdx.x;
    const int across = (mode & ALONG_K ? BK : B) / width;
    const int near = thread % across * width, far = thread / across;
    const int line = mode & ALONG_K ? far : near;
    k = mode & ALONG_K ? near : far;
    far_step = GEMM_THREADS / across;
    own = data + line * line_stride + (first + k) * k_stride;
    mask = MASKED && relu ? relu + line * line_stride + (first + k) * k_stride : nullptr;
    step = far_step * (mode & ALONG_K ? line_stride : k_stride);
    place = k * (B + GEMM_PAD) + line;
    place_step = far_step * (mode & ALONG_K ? 1 : B + GEMM_PAD);
    this->lines = int(lines < B ? lines : B) - line;
  }

  __device__ __forceinline__ void fetch(u64 first, u64 last, T (&v)[COUNT]) {
    const T* from = own;
    const T* relu = mask;
    own += k_slab;
    if (MASKED && mask) mask += k_slab;
    // Numbers from the thread's first on, in the dimension of neighbours and in the other.
    const int left = int(last - first < BK ? last - first : BK) - k;
    const int near = mode & ALONG_K ? left : lines, far = mode & ALONG_K ? lines : left;
    if (mode & PACKS) {
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
            const bool there = near > c && far > i * far_step;
            v[4 * i + c] = there ? from[c] : T(0);
            if (MASKED && relu && there) v[4 * i + c] = relu_grad(v[4 * i + c], relu[i * step + c]);
          }
        }
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < COUNT; ++i, from += step) {
      const bool there = near > 0 && far > i * far_step;
      v[i] = there ? *from : T(0);
      if (MASKED && relu && there) v[i] = relu_grad(v[i], relu[i * step]);
    }
  }

  __device__ __forceinline__ void lay(T (&slab)[BK][B + GEMM_PAD], const T (&v)[COUNT]) const {
    T* to = &slab[0][0] + place;
    if (mode & PACKS) {
      const int near_step = mode & ALONG_K ? B + GEMM_PAD : 1;
#pragma unroll
      for (int i = 0; i < COUNT / 4; ++i)
#pragma unroll
        for (int c = 0; c < 4; ++c) to[i * place_step + c * near_step] = v[4 * i + c];
      return;
    }
#pragma unroll
    for (int i = 0; i < COUNT; ++i) to[i * place_step] = v[i];
  }
};
