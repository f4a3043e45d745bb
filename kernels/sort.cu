// Argsort of rows, or the first k indices of it (topk).
//
//   sort_rows_TYPE          rows of up to TILE elements, in shared memory: out[row][i] for i < k
//   sort_tiles_TYPE         longer rows: sorts tiles of TILE elements of each row into a workspace
//   sort_merge_BYTES        merges adjacent runs of `run` elements into runs of twice the length
//   sort_final_merge_BYTES  merges the last two runs of a row and writes the first k indices to out
//
// An element and its index are encoded as one integer key with the same order, so keys are unique and the sort is stable. Keys
// have 8 bytes for f32 and i32, 16 for f64. NaN of either sign is last, and -0 equals 0.
//
// Within a tile: bitonic sort, log²(TILE) / 2 = 66 steps in shared memory. Between tiles: merge path. A block finds by binary
// search (co-rank) where its TILE outputs begin and end in the two runs, loads them, and each thread does the same for its 8
// outputs. Launch: blocks of 256 threads, one per tile; shorter rows share a tile. Cost: rows of up to TILE elements are read
// once; longer ones move 2 keys per element and merge, or fewer if k is small. Overwrites out and the workspace.
// Budget: 64 registers, 32832 bytes of shared memory.
#include "common.cuh"

// Elements per tile, and per thread in a merge.
#define TILE 2048
#define ITEMS 8

// Mirrors `SortParams` in sort.rs.
struct SortParams {
  // The shape of the rows' first elements.
  Walk rows;
  // The rows' first elements, in x and in the result (i32).
  TensorRef x;
  TensorRef out;
  // The stride within a row, in x and in out.
  u64 step;
  u64 out_step;
  // The elements of a row, and the number of indices to return.
  u64 n;
  u64 k;
  // [rows, n]: the keys that are read and those that are written.
  const void* from;
  void* to;
  // The length of the runs to merge.
  u64 run;
  // The tiles of a row.
  u64 tiles;
  // Logarithms: the length to which a row is padded in its tile, and the rows of a tile.
  u32 log_places;
  u32 log_rows;
  // Whether adjacent elements in memory belong to different rows.
  u32 across;
  u32 descending;
};

// A 32-bit rank above a 32-bit index, or a 64-bit rank and an index.
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

// Unsigned integers with the order of the elements: for floats, the bits with negative numbers inverted and the sign bit of
// others set. Adding 0 makes -0 equal to 0.
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
// The padding key, greater than all others.
__device__ __forceinline__ void set_last(Key8& key) { key = ~0ull; }
__device__ __forceinline__ void set_last(Key16& key) { key = {~0ull, ~0ull}; }

// Sorts each row of 2^log_places keys among the first `used` keys of a tile.
template <typename Key>
__device__ __forceinline__ void sort_tile(Key (&tile)[TILE], u32 log_places, u32 used) {
  for (u32 size = 1; size <= log_places; ++size) {
    for (u32 log_distance = size; log_distance-- > 0;) {
      __syncthreads();
      for (u32 pair = threadIdx.x; pair < used / 2; pair += THREADS) {
        const u32 low = (pair >> log_distance << (log_distance + 1)) | (pair & ((1u << log_distance) - 1));
        const u32 high = low | 1u << log_distance;
        // Adjacent sequences are sorted in opposite directions, the whole row ascending.
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
  // Adjacent threads read adjacent elements.
  for (u32 e = threadIdx.x; e < used; e += THREADS) {
    const u32 row = p.across ? e & (rows - 1) : e >> p.log_places;
    const u32 i = p.across ? e >> p.log_rows : e & (places - 1);
    Key key;
    set_last(key);
    if (i < p.n && first + row < p.rows.numel) {
      key = key_of(rank_of(x[offset_of(p.rows, p.x.strides, first + row) + i * p.step]), i, p.descending);
    }
    tile[row << p.log_places | i] = key;
  }
  sort_tile(tile, p.log_places, used);
  for (u32 e = threadIdx.x; e < used; e += THREADS) {
    const u32 row = p.across ? e & (rows - 1) : e >> p.log_places;
    const u32 i = p.across ? e >> p.log_rows : e & (places - 1);
    if (i < p.k && first + row < p.rows.numel) {
      const Key key = tile[row << p.log_places | i];
      out[offset_of(p.rows, p.out.strides, first + row) + i * p.out_step] = i32(index_of(key));
    }
  }
}

template <typename T, typename Key>
__device__ __forceinline__ void sort_tiles(const SortParams& p) {
  __shared__ Key tile[TILE];
  const u64 row = blockIdx.x / p.tiles, first = (blockIdx.x - row * p.tiles) * TILE;
  const T* x = static_cast<const T*>(p.x.data) + offset_of(p.rows, p.x.strides, row);
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

// The number of keys from a among the first `count` keys of the merge of a and b.
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

// Merges two runs: tile = the outputs first..first + count of the row. Returns false if none of them is needed.
template <typename Key>
__device__ __forceinline__ bool merge(const SortParams& p, Key (&tile)[TILE], u64 row, u64 first, u32& count) {
  __shared__ u64 cut[2];
  // The start and the lengths of the two runs.
  const u64 start = first / (2 * p.run) * (2 * p.run), rest = p.n - start;
  const u64 len_a = smaller_of(rest, p.run), len_b = smaller_of(rest - len_a, p.run);
  // Only the first k keys of a run can be among the first k of the row.
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
  const u32 begin_own = smaller_of(threadIdx.x * u32(ITEMS), count);
  u32 i = u32(co_rank(tile, own_a, tile + own_a, own_b, begin_own)), j = begin_own - i;
  Key v[ITEMS];
#pragma unroll
  for (int n = 0; n < ITEMS; ++n) {
    // Past the end both runs are exhausted.
    const bool has_a = i < own_a, has_b = j < own_b;
    if (has_a && (!has_b || before(tile[i], tile[own_a + j]))) v[n] = tile[i++];
    else if (has_b) v[n] = tile[own_a + j++];
    else set_last(v[n]);
  }
  __syncthreads();
#pragma unroll
  for (int n = 0; n < ITEMS; ++n)
    if (threadIdx.x * ITEMS + n < count) tile[threadIdx.x * ITEMS + n] = v[n];
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
__device__ __forceinline__ void sort_final_merge(const SortParams& p) {
  __shared__ Key tile[TILE];
  const u64 row = blockIdx.x / p.tiles, first = (blockIdx.x - row * p.tiles) * TILE;
  u32 count;
  if (!merge(p, tile, row, first, count)) return;
  i32* out = static_cast<i32*>(p.out.data) + offset_of(p.rows, p.out.strides, row);
  for (u32 i = threadIdx.x; i < count; i += THREADS)
    if (first + i < p.k) out[(first + i) * p.out_step] = i32(index_of(tile[i]));
}

#define SORT(name) KERNEL(sort_##name, SortParams, THREADS)
#define ROWS(suffix, T, Key)                           \
  SORT(rows_##suffix) { sort_rows<T, Key>(p); }   \
  SORT(tiles_##suffix) { sort_tiles<T, Key>(p); }
#define MERGES(bytes, Key)                              \
  SORT(merge_##bytes) { sort_merge<Key>(p); }      \
  SORT(final_merge_##bytes) { sort_final_merge<Key>(p); }
ROWS(f32, float, Key8)
ROWS(f64, double, Key16)
ROWS(i32, i32, Key8)
MERGES(8, Key8)
MERGES(16, Key16)
