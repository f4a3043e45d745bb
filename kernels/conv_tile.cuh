// How a tile of a convolution's product is written: the forward map and the gradient in the input, which conv.cu and conv_tap.cu
// compute with loaders of their own.
#pragma once
#include "conv.cuh"
#include "gemm.cuh"

// The tile at (row, column) of y: rows are output channels of the group, columns pixels.
template <int B, typename T, int PER>
__device__ __forceinline__ void put_forward(const ConvParams& p, u32 group, u64 row, u64 column, const T (&sum)[PER][PER]) {
#pragma unroll
  for (int j = 0; j < PER; ++j) {
    const u64 pixel = column + gemm_line<B, PER>(gemm_column(), j);
    if (pixel >= p.pixels) continue;
    const u32 image = divide(p.out_plane, u32(pixel));
    const u64 at = pixel - u64(image) * p.out_plane.size;
#pragma unroll
    for (int i = 0; i < PER; ++i) {
      const u64 line = row + gemm_line<B, PER>(gemm_row(), i);
      if (line >= p.group_out) continue;
      const u64 o = u64(group) * p.group_out + line;
      static_cast<T*>(p.out)[(image * u64(p.co) + o) * p.out_plane.size + at] = finish(p, sum[i][j], o);
    }
  }
}

// The tile at (row, column) of gx: rows are input channels of the group, columns pixels of the phase.
template <int B, typename T, int PER>
__device__ __forceinline__ void put_grad_input(const ConvParams& p, const Phase& phase, u32 group, u64 row, u64 column,
                                               const T (&sum)[PER][PER]) {
#pragma unroll
  for (int j = 0; j < PER; ++j) {
    const u64 pixel = column + gemm_line<B, PER>(gemm_column(), j);
    if (pixel >= phase.pixels) continue;
    const u64 at = phase.place(p, u32(pixel), group);
#pragma unroll
    for (int i = 0; i < PER; ++i) {
      const u64 line = row + gemm_line<B, PER>(gemm_row(), i);
      if (line < p.group_in) static_cast<T*>(p.out)[at + line * p.h * p.w] = sum[i][j];
    }
  }
}
