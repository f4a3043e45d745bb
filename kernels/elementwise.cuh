// Element-wise kernels: out[i] = f(a[i], b[i], ..) over one shape; every tensor has its own strides.
//
// A grid-stride loop; a thread takes four adjacent elements per iteration. Their offsets are computed once for all tensors, or
// once per segment where the four cross from one row of the innermost dimension to the next. Four contiguous and aligned elements
// are one access of up to 16 bytes, others one access each. There is one copy of f for all layouts, so that kernels stay small.
#pragma once
#include "common.cuh"

// Mirrors `ElementwiseParams` in elementwise.rs. Every tensor has the walk's shape.
struct ElementwiseParams {
  Walk walk;
  TensorRef out;
  TensorRef in[3];
  // Numbers of the function, if it has any.
  double a;
  double b;
};

// Whether all tensors are contiguous.
template <int N>
__device__ __forceinline__ bool all_contiguous(const TensorRef* const (&x)[N]) {
  bool all = true;
#pragma unroll
  for (int n = 0; n < N; ++n) all = all && x[n]->order != STRIDED;
  return all;
}

// Calls body(k, len, at) for each segment of the elements i .. i + count within one row of the innermost dimension: the elements
// i + k .. i + k + len, the first of which has the offset at[n] in tensor n. Usually there is one segment.
template <int N, typename F>
__device__ __forceinline__ void each_segment(const Walk& walk, const TensorRef* const (&x)[N], u64 i, int count, F body) {
  const bool contiguous = all_contiguous(x);
  int len;
#pragma unroll 1
  for (int k = 0; k < count; k += len) {
    u64 rest = i + k, at[N];
    len = count - k;
#pragma unroll
    for (int n = 0; n < N; ++n) at[n] = contiguous ? rest : 0;
    if (!contiguous) {
      // As in offset_of() of common.cuh, for all tensors at once.
#pragma unroll 1
      for (int d = int(walk.rank) - 1; d >= 0; --d) {
        u64 outer = 0;
        if (d > 0) outer = divide(walk, d, rest);
        const u64 coordinate = rest - outer * walk.sizes[d];
        if (d == int(walk.rank) - 1) len = int(smaller_of(u64(len), walk.sizes[d] - coordinate));
#pragma unroll
        for (int n = 0; n < N; ++n) at[n] += coordinate * x[n]->strides[d];
        rest = outer;
      }
    }
    body(k, len, at);
  }
}

// The stride within a segment.
__device__ __forceinline__ u64 segment_stride(const Walk& walk, const TensorRef& x) {
  return x.order == STRIDED && walk.rank > 0 ? x.strides[walk.rank - 1] : 1;
}

template <typename T>
__device__ __forceinline__ bool is_pack(const T* first, u64 stride, int len) {
  return len == 4 && stride == 1 && reinterpret_cast<u64>(first) % alignof(Pack<T>) == 0;
}

template <typename T>
__device__ __forceinline__ void load_segment(const Walk& walk, const TensorRef& x, u64 at, int k, int len, T (&v)[4]) {
  const T* first = static_cast<const T*>(x.data) + at;
  const u64 stride = segment_stride(walk, x);
  if (is_pack(first, stride, len)) {
    const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(first);
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = pack.v[j];
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j < k || j >= k + len) continue;
    v[j] = *first;
    first += stride;
  }
}

template <typename T>
__device__ __forceinline__ void store_segment(const Walk& walk, const TensorRef& x, u64 at, int k, int len, const T (&v)[4]) {
  T* first = static_cast<T*>(x.data) + at;
  const u64 stride = segment_stride(walk, x);
  if (is_pack(first, stride, len)) {
    Pack<T> pack;
#pragma unroll
    for (int j = 0; j < 4; ++j) pack.v[j] = v[j];
    *reinterpret_cast<Pack<T>*>(first) = pack;
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j < k || j >= k + len) continue;
    *first = v[j];
    first += stride;
  }
}

// v[k] = x[i + k] for k < count; the other elements of v keep their values.
template <typename T>
__device__ __forceinline__ void load(const Walk& walk, const TensorRef& x, u64 i, int count, T (&v)[4]) {
  const TensorRef* const tensors[1] = {&x};
  each_segment(walk, tensors, i, count, [&](int k, int len, const u64 (&at)[1]) { load_segment(walk, x, at[0], k, len, v); });
}

template <typename T>
__device__ __forceinline__ void store(const Walk& walk, const TensorRef& x, u64 i, int count, const T (&v)[4]) {
  const TensorRef* const tensors[1] = {&x};
  each_segment(walk, tensors, i, count, [&](int k, int len, const u64 (&at)[1]) { store_segment(walk, x, at[0], k, len, v); });
}

// Calls body(i, count) for this thread's groups of `count` elements from i on: four, or fewer at the end.
template <typename F>
__device__ __forceinline__ void each_four(u64 numel, F body) {
  for (u64 i = thread_index() * 4; i < numel; i += thread_count() * 4) body(i, numel - i < 4 ? int(numel - i) : 4);
}

template <typename R, typename F>
__device__ __forceinline__ void map0(const ElementwiseParams& p, F f) {
  each_four(p.walk.numel, [&](u64 i, int count) {
    R r[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) r[k] = f();
    store<R>(p.walk, p.out, i, count, r);
  });
}

template <typename A, typename R, typename F>
__device__ __forceinline__ void map1(const ElementwiseParams& p, F f) {
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
__device__ __forceinline__ void map2(const ElementwiseParams& p, F f) {
  each_four(p.walk.numel, [&](u64 i, int count) {
    A a[4] = {};
    B b[4] = {};
    R r[4];
    const TensorRef* const in[2] = {&p.in[0], &p.in[1]};
    each_segment(p.walk, in, i, count, [&](int k, int len, const u64 (&at)[2]) {
      load_segment(p.walk, p.in[0], at[0], k, len, a);
      load_segment(p.walk, p.in[1], at[1], k, len, b);
    });
#pragma unroll
    for (int k = 0; k < 4; ++k) r[k] = f(a[k], b[k]);
    store<R>(p.walk, p.out, i, count, r);
  });
}

template <typename A, typename B, typename C, typename R, typename F>
__device__ __forceinline__ void map3(const ElementwiseParams& p, F f) {
  each_four(p.walk.numel, [&](u64 i, int count) {
    A a[4] = {};
    B b[4] = {};
    C c[4] = {};
    R r[4];
    const TensorRef* const in[3] = {&p.in[0], &p.in[1], &p.in[2]};
    each_segment(p.walk, in, i, count, [&](int k, int len, const u64 (&at)[3]) {
      load_segment(p.walk, p.in[0], at[0], k, len, a);
      load_segment(p.walk, p.in[1], at[1], k, len, b);
      load_segment(p.walk, p.in[2], at[2], k, len, c);
    });
#pragma unroll
    for (int k = 0; k < 4; ++k) r[k] = f(a[k], b[k], c[k]);
    store<R>(p.walk, p.out, i, count, r);
  });
}

// x - floor(x / c) c: the remainder with the sign of c.
template <typename T>
__device__ __forceinline__ T remainder_by(T x, T c) {
  const T rest = fmod_of(x, c);
  return rest != T(0) && (rest < T(0)) != (c < T(0)) ? rest + c : rest;
}
__device__ __forceinline__ i32 remainder_by(i32 x, i32 c) {
  if (c == 0 || c == -1) return 0;  // -1 divides every number, and the smallest number divided by it overflows
  const i32 rest = x % c;
  return rest != 0 && (rest < 0) != (c < 0) ? rest + c : rest;
}
