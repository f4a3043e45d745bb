// The element-wise engine: out[i] = f(a[i], b[i], ..) over a shape that all operands share, each with strides of its own.
//
// Four neighbours per thread and turn, 16 bytes at a time where an operand lies in order, single elements where it does not
// and at the end. The grid is cut to the card and walks on. One copy of f serves all layouts.
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

// v[k] = x[i + k] for the k that exist; the others stay.
template <typename T>
__device__ __forceinline__ void load(const Walk& walk, const Operand& x, u64 i, int count, T (&v)[4]) {
  const T* data = static_cast<const T*>(x.data);
  if (x.order == PACKED && count == 4) {
    const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(data + i);
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = pack.v[k];
    return;
  }
#pragma unroll 1
  for (int k = 0; k < count; ++k) {
    const T value = data[place(walk, x, i + k)];
    // Selected, not indexed: an index that varies would put v into memory.
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = j == k ? value : v[j];
  }
}

template <typename T>
__device__ __forceinline__ void store(const Walk& walk, const Operand& x, u64 i, int count, const T (&v)[4]) {
  T* data = static_cast<T*>(x.data);
  if (x.order == PACKED && count == 4) {
    Pack<T> pack;
#pragma unroll
    for (int k = 0; k < 4; ++k) pack.v[k] = v[k];
    *reinterpret_cast<Pack<T>*>(data + i) = pack;
    return;
  }
#pragma unroll 1
  for (int k = 0; k < count; ++k) {
    T value = v[0];
#pragma unroll
    for (int j = 1; j < 4; ++j) value = j == k ? v[j] : value;
    data[place(walk, x, i + k)] = value;
  }
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
    load<A>(p.walk, p.in[0], i, count, a);
    load<B>(p.walk, p.in[1], i, count, b);
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
    load<A>(p.walk, p.in[0], i, count, a);
    load<B>(p.walk, p.in[1], i, count, b);
    load<C>(p.walk, p.in[2], i, count, c);
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
