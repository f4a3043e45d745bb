// The indices that sort rows: argsort, or the first k of it.
//
//   sort_rows_TYPE     rows of up to TILE elements, whole, in shared memory: out[row][i] for i < k
//   sort_tiles_TYPE    longer rows: runs of TILE elements of each row, sorted, into a workspace
//   sort_merge_BYTES   neighbouring runs of `run` elements become one of twice as many
//   sort_finish_BYTES  the same for the last two runs of a row, of which the first k indices go to out
//
// An element and its index become one number that orders as they do, so that no two are equal and the order is stable by
// itself. Float and i32 fill 8 bytes with it, double 16. NaN of either sign comes last, -0 equals 0.
//
// In a tile: bitonic sort, log²(TILE) / 2 = 66 steps of shared memory. Between tiles: merges by co-ranks. A block finds by bisection
// where its TILE outputs begin and end in the two runs, loads them, and each thread does the same for its 8 outputs. Launch: blocks
// of 256 threads, one per tile of TILE elements; rows of a power of two below TILE share one. Cost: rows up to TILE are read once;
// longer ones move 2 keys per element and doubling, of the first k alone where k is small. Overwrites out and the workspace.
// Budget: 64 registers, 32832 bytes of shared memory.
#include "common.cuh"

// Elements of a tile, and of one thread.
#define TILE 2048
#define OWN 8

// Mirrors `SortParams` in sort.rs.
struct SortParams {
  // Over the rows.
  Walk rows;
  // The first element of each row, and of each row of the result (i32).
  Operand x;
  Operand out;
  // Elements between neighbours of a row, in x and in out.
  u64 step;
  u64 out_step;
  // Elements of a row, and how many of their places are wanted.
  u64 n;
  u64 k;
  // Keys of all rows, [rows, n]: what is read and what is written.
  const void* from;
  void* to;
  // Elements of the runs that are merged.
  u64 run;
  // Blocks of a row.
  u64 tiles;
  // Powers of two: places of a row in its tile, and rows of a tile.
  u32 log_places;
  u32 log_rows;
  // Whether neighbours in memory are of different rows.
  u32 across;
  u32 descending;
};

// A rank of 32 bits above an index, or a rank of 64 bits and an index.
typedef u64 Key8;
struct __align__(16) Key16 {
  u64 rank;
  u64 index;
};
__device__ __forceinline__ bool before(Key8 a, Key8 b) { return a < b; }
__device__ __forceinline__ bool before(const Key16& a, const Key16& b) {
  return a.rank < b.rank || (a.rank == b.rank && a.index < b.index);
}
__device__ __forceinline__ u32 index_of(Key8 key) { return u32(key); }
__device__ __forceinline__ u32 index_of(const Key16& key) { return u32(key.index); }

// Numbers that order like the elements: a float's bits do once negative ones are turned over and the others put above them.
// A sum with 0 makes -0 equal to 0.
__device__ __forceinline__ u32 rank_of(float x) {
  const u32 bits = u32(__float_as_int(x + 0.0f));
  return x != x ? 0xffffffffu : bits >> 31 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ u64 rank_of(double x) {
  const u64 bits = u64(__double_as_longlong(x + 0.0));
  return x != x ? ~0ull : bits >> 63 ? ~bits : bits | 1ull << 63;
}
__device__ __forceinline__ u32 rank_of(i32 x) { return u32(x) ^ 0x80000000u; }

__device__ __forceinline__ Key8 key_of(u32 rank, u32 index, bool descending) {
  return u64(descending ? ~rank : rank) << 32 | index;
}
__device__ __forceinline__ Key16 key_of(u64 rank, u32 index, bool descending) { return {descending ? ~rank : rank, index}; }
// Above all keys: no element has this index.
__device__ __forceinline__ void set_last(Key8& key) { key = ~0ull; }
__device__ __forceinline__ void set_last(Key16& key) { key = {~0ull, ~0ull}; }

// Sorts each run of 2^log_places keys of the first `used` of a tile.
template <typename Key>
__device__ __forceinline__ void sort_tile(Key (&tile)[TILE], u32 log_places, u32 used) {
  for (u32 size = 1; size <= log_places; ++size) {
    for (u32 apart = size; apart-- > 0;) {
      __syncthreads();
      for (u32 pair = threadIdx.x; pair < used / 2; pair += THREADS) {
        const u32 low = (pair >> apart << (apart + 1)) | (pair & ((1u << apart) - 1)), high = low | 1u << apart;
        // Halves are sorted one up and one down, the whole run up.
        const bool down = size < log_places && (low >> size & 1);
        const Key a = tile[low], b = tile[high];
        if (before(a, b) == down) {
          tile[low] = b;
          tile[high] = a;
        }
      }
    }
  }
  __syncthreads();
}

template <typename T, typename Key>
__device__ __forceinline__ void sort_rows(const SortParams& p) {
  __shared__ Key tile[TILE];
  const T* x = static_cast<const T*>(p.x.data);
  i32* out = static_cast<i32*>(p.out.data);
  const u32 places = 1u << p.log_places, rows = 1u << p.log_rows, used = places << p.log_rows;
  const u64 first = u64(blockIdx.x) << p.log_rows;
  // Neighbouring threads take neighbours in memory.
  for (u32 e = threadIdx.x; e < used; e += THREADS) {
    const u32 row = p.across ? e & (rows - 1) : e >> p.log_places;
    const u32 i = p.across ? e >> p.log_rows : e & (places - 1);
    Key key;
    set_last(key);
    if (i < p.n && first + row < p.rows.numel) {
      key = key_of(rank_of(x[place(p.rows, p.x.strides, first + row) + i * p.step]), i, p.descending);
    }
    tile[row << p.log_places | i] = key;
  }
  sort_tile(tile, p.log_places, used);
  for (u32 e = threadIdx.x; e < used; e += THREADS) {
    const u32 row = p.across ? e & (rows - 1) : e >> p.log_places;
    const u32 i = p.across ? e >> p.log_rows : e & (places - 1);
    if (i < p.k && first + row < p.rows.numel) {
      const Key key = tile[row << p.log_places | i];
      out[place(p.rows, p.out.strides, first + row) + i * p.out_step] = i32(index_of(key));
    }
  }
}

template <typename T, typename Key>
__device__ __forceinline__ void sort_tiles(const SortParams& p) {
  __shared__ Key tile[TILE];
  const u64 row = blockIdx.x / p.tiles, first = (blockIdx.x - row * p.tiles) * TILE;
  const T* x = static_cast<const T*>(p.x.data) + place(p.rows, p.x.strides, row);
  Key* to = static_cast<Key*>(p.to) + row * p.n + first;
  for (u32 i = threadIdx.x; i < TILE; i += THREADS) {
    Key key;
    set_last(key);
    if (first + i < p.n) key = key_of(rank_of(x[(first + i) * p.step]), u32(first + i), p.descending);
    tile[i] = key;
  }
  sort_tile(tile, 11, TILE);
  for (u32 i = threadIdx.x; i < TILE; i += THREADS)
    if (first + i < p.n) to[i] = tile[i];
}

// How many of the first `count` of two runs' merge come from a, which has `len_a` keys; b has `len_b`.
template <typename Key>
__device__ __forceinline__ u64 co_rank(const Key* a, u64 len_a, const Key* b, u64 len_b, u64 count) {
  u64 low = count > len_b ? count - len_b : 0, high = smaller_of(count, len_a);
  while (low < high) {
    const u64 middle = (low + high) / 2;
    if (before(a[middle], b[count - 1 - middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Outputs first..first + count of the merge of two runs of a row, sorted in `tile`; false if nobody wants them.
template <typename Key>
__device__ __forceinline__ bool merge(const SortParams& p, Key (&tile)[TILE], u64 row, u64 first, u32& count) {
  __shared__ u64 cut[2];
  // Where the two runs begin and how long they are.
  const u64 start = first / (2 * p.run) * (2 * p.run), rest = p.n - start;
  const u64 len_a = smaller_of(rest, p.run), len_b = smaller_of(rest - len_a, p.run);
  // Of a run, as of the row, only the first k can be among the row's first k.
  if (first - start >= p.k) return false;
  const Key* a = static_cast<const Key*>(p.from) + row * p.n + start;
  const Key* b = a + len_a;
  const u64 begin = first - start, end = smaller_of(begin + TILE, len_a + len_b);
  if (threadIdx.x % WARP == 0 && threadIdx.x / WARP < 2)
    cut[threadIdx.x / WARP] = co_rank(a, len_a, b, len_b, threadIdx.x == 0 ? begin : end);
  __syncthreads();
  count = u32(end - begin);
  const u64 from_a = cut[0], from_b = begin - cut[0];
  const u32 own_a = u32(cut[1] - cut[0]), own_b = count - own_a;
  for (u32 i = threadIdx.x; i < count; i += THREADS) tile[i] = i < own_a ? a[from_a + i] : b[from_b + (i - own_a)];
  __syncthreads();
  const u32 mine = smaller_of(threadIdx.x * u32(OWN), count);
  u32 i = u32(co_rank(tile, own_a, tile + own_a, own_b, mine)), j = mine - i;
  Key v[OWN];
#pragma unroll
  for (int n = 0; n < OWN; ++n) {
    // Beyond the end both runs are used up.
    const bool has_a = i < own_a, has_b = j < own_b;
    if (has_a && (!has_b || before(tile[i], tile[own_a + j]))) v[n] = tile[i++];
    else if (has_b) v[n] = tile[own_a + j++];
    else set_last(v[n]);
  }
  __syncthreads();
#pragma unroll
  for (int n = 0; n < OWN; ++n)
    if (threadIdx.x * OWN + n < count) tile[threadIdx.x * OWN + n] = v[n];
  __syncthreads();
  return true;
}

template <typename Key>
__device__ __forceinline__ void sort_merge(const SortParams& p) {
  __shared__ Key tile[TILE];
  const u64 row = blockIdx.x / p.tiles, first = (blockIdx.x - row * p.tiles) * TILE;
  u32 count;
  if (!merge(p, tile, row, first, count)) return;
  Key* to = static_cast<Key*>(p.to) + row * p.n + first;
  for (u32 i = threadIdx.x; i < count; i += THREADS) to[i] = tile[i];
}

template <typename Key>
__device__ __forceinline__ void sort_finish(const SortParams& p) {
  __shared__ Key tile[TILE];
  const u64 row = blockIdx.x / p.tiles, first = (blockIdx.x - row * p.tiles) * TILE;
  u32 count;
  if (!merge(p, tile, row, first, count)) return;
  i32* out = static_cast<i32*>(p.out.data) + place(p.rows, p.out.strides, row);
  for (u32 i = threadIdx.x; i < count; i += THREADS)
    if (first + i < p.k) out[(first + i) * p.out_step] = i32(index_of(tile[i]));
}

#define SORT(name) extern "C" __global__ void __launch_bounds__(THREADS) name(const __grid_constant__ SortParams p)
#define ROWS(suffix, T, Key)                           \
  SORT(sort_rows_##suffix) { sort_rows<T, Key>(p); }   \
  SORT(sort_tiles_##suffix) { sort_tiles<T, Key>(p); }
#define MERGES(bytes, Key)                              \
  SORT(sort_merge_##bytes) { sort_merge<Key>(p); }      \
  SORT(sort_finish_##bytes) { sort_finish<Key>(p); }
ROWS(f32, float, Key8)
ROWS(f64, double, Key16)
ROWS(i32, i32, Key8)
MERGES(8, Key8)
MERGES(16, Key16)
