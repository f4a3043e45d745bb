// The element-wise engine: out[i] = f(a[i], b[i], ..) over a shape that all operands share, each with strides of its own.
//
// Four neighbours per thread and turn. Their place is computed once for all operands, unless they cross from a row of the innermost
// dimension into the next: then once for each part. An operand's four are one access of up to 16 bytes where they are contiguous
// and aligned, and one access each elsewhere. The grid is cut to the GPU and walks on. One copy of f serves all layouts.
#pragma once
#include "common.cuh"

// Mirrors `MapParams` in params.rs. The shape of every operand is the walk's.
struct MapParams {
  Walk walk;
  Operand out;
  Operand in[3];
  // Numbers that the function uses, if it does.
  double a;
  double b;
};

// Whether all operands lie in the walk's order.
template <int N>
__device__ __forceinline__ bool all_in_order(const Operand* const (&x)[N]) {
  bool all = true;
#pragma unroll
  for (int n = 0; n < N; ++n) all = all && x[n]->order != STRIDED;
  return all;
}

// body(k, here, at) for the parts of a group that lie within one row of the innermost dimension each: the elements i + k ..
// i + k + here, of which the first lies at at[n] in operand n. Most groups are one part.
template <int N, typename F>
__device__ __forceinline__ void each_part(const Walk& walk, const Operand* const (&x)[N], u64 i, int count, F body) {
  const bool in_order = all_in_order(x);
  int here;
#pragma unroll 1
  for (int k = 0; k < count; k += here) {
    u64 rest = i + k, at[N];
    here = count - k;
#pragma unroll
    for (int n = 0; n < N; ++n) at[n] = in_order ? rest : 0;
    if (!in_order) {
      // As in place() of common.cuh, for all operands at once.
#pragma unroll 1
      for (int d = int(walk.rank) - 1; d >= 0; --d) {
        u64 outer = 0;
        if (d > 0) {
          outer = walk.wide ? rest / walk.sizes[d] : (__umulhi(u32(rest), walk.magics[d]) + u32(rest)) >> walk.shifts[d];
        }
        const u64 entry = rest - outer * walk.sizes[d];
        if (d == int(walk.rank) - 1) here = int(smaller_of(u64(here), walk.sizes[d] - entry));
#pragma unroll
        for (int n = 0; n < N; ++n) at[n] += entry * x[n]->strides[d];
        rest = outer;
      }
    }
    body(k, here, at);
  }
}

// Elements between neighbours of a part.
__device__ __forceinline__ u64 apart(const Walk& walk, const Operand& x) {
  return x.order == STRIDED && walk.rank > 0 ? x.strides[walk.rank - 1] : 1;
}

template <typename T>
__device__ __forceinline__ bool is_pack(const T* first, u64 apart, int here) {
  return here == 4 && apart == 1 && reinterpret_cast<u64>(first) % alignof(Pack<T>) == 0;
}

template <typename T>
__device__ __forceinline__ void load_part(const Walk& walk, const Operand& x, u64 at, int k, int here, T (&v)[4]) {
  const T* first = static_cast<const T*>(x.data) + at;
  const u64 step = apart(walk, x);
  if (is_pack(first, step, here)) {
    const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(first);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = pack.v[j];
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j < k || j >= k + here) continue;
    v[j] = *first;
    first += step;
  }
}

template <typename T>
__device__ __forceinline__ void store_part(const Walk& walk, const Operand& x, u64 at, int k, int here, const T (&v)[4]) {
  T* first = static_cast<T*>(x.data) + at;
  const u64 step = apart(walk, x);
  if (is_pack(first, step, here)) {
    Pack<T> pack;
#pragma unroll
    for (int j = 0; j < 4; ++j) pack.v[j] = v[j];
    *reinterpret_cast<Pack<T>*>(first) = pack;
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j < k || j >= k + here) continue;
    *first = v[j];
    first += step;
  }
}

// v[k] = x[i + k] for the k that exist; the others stay.
template <typename T>
__device__ __forceinline__ void load(const Walk& walk, const Operand& x, u64 i, int count, T (&v)[4]) {
  const Operand* const operands[1] = {&x};
  each_part(walk, operands, i, count, [&](int k, int here, const u64 (&at)[1]) { load_part(walk, x, at[0], k, here, v); });
}

template <typename T>
__device__ __forceinline__ void store(const Walk& walk, const Operand& x, u64 i, int count, const T (&v)[4]) {
  const Operand* const operands[1] = {&x};
  each_part(walk, operands, i, count, [&](int k, int here, const u64 (&at)[1]) { store_part(walk, x, at[0], k, here, v); });
}

// body(i, count) for this thread's groups of four neighbours, the last of which may be smaller.
template <typename F>
__device__ __forceinline__ void each_four(u64 numel, F body) {
  for (u64 i = thread_index() * 4; i < numel; i += thread_count() * 4) body(i, numel - i < 4 ? int(numel - i) : 4);
}

template <typename R, typename F>
__device__ __forceinline__ void map0(const MapParams& p, F f) {
  each_four(p.walk.numel, [&](u64 i, int count) {
    R r[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) r[k] = f();
    store<R>(p.walk, p.out, i, count, r);
  });
}

template <typename A, typename R, typename F>
__device__ __forceinline__ void map1(const MapParams& p, F f) {
  each_four(p.walk.numel, [&](u64 i, int count) {
    A a[4] = {};
    R r[4];
    load<A>(p.walk, p.in[0], i, count, a);
#pragma unroll
    for (int k = 0; k < 4; ++k) r[k] = f(a[k]);
    store<R>(p.walk, p.out, i, count, r);
  });
}

template <typename A, typename B, typename R, typename F>
__device__ __forceinline__ void map2(const MapParams& p, F f) {
  each_four(p.walk.numel, [&](u64 i, int count) {
    A a[4] = {};
    B b[4] = {};
    R r[4];
    const Operand* const in[2] = {&p.in[0], &p.in[1]};
    each_part(p.walk, in, i, count, [&](int k, int here, const u64 (&at)[2]) {
      load_part(p.walk, p.in[0], at[0], k, here, a);
      load_part(p.walk, p.in[1], at[1], k, here, b);
    });
#pragma unroll
    for (int k = 0; k < 4; ++k) r[k] = f(a[k], b[k]);
    store<R>(p.walk, p.out, i, count, r);
  });
}

template <typename A, typename B, typename C, typename R, typename F>
__device__ __forceinline__ void map3(const MapParams& p, F f) {
  each_four(p.walk.numel, [&](u64 i, int count) {
    A a[4] = {};
    B b[4] = {};
    C c[4] = {};
    R r[4];
    const Operand* const in[3] = {&p.in[0], &p.in[1], &p.in[2]};
    each_part(p.walk, in, i, count, [&](int k, int here, const u64 (&at)[3]) {
      load_part(p.walk, p.in[0], at[0], k, here, a);
      load_part(p.walk, p.in[1], at[1], k, here, b);
      load_part(p.walk, p.in[2], at[2], k, here, c);
    });
#pragma unroll
    for (int k = 0; k < 4; ++k) r[k] = f(a[k], b[k], c[k]);
    store<R>(p.walk, p.out, i, count, r);
  });
}

// What is left of x after whole steps of c, with the sign of c.
template <typename T>
__device__ __forceinline__ T remainder_by(T x, T c) {
  const T rest = fmod_of(x, c);
  return rest != T(0) && (rest < T(0)) != (c < T(0)) ? rest + c : rest;
}
__device__ __forceinline__ i32 remainder_by(i32 x, i32 c) {
  if (c == 0 || c == -1) return 0;  // -1 divides everything, and the smallest number by it overflows
  const i32 rest = x % c;
  return rest != 0 && (rest < 0) != (c < 0) ? rest + c : rest;
}
