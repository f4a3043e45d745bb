// The stores of a convolution's tiles, which conv.cu and conv_tap.cu share: the forward pass and the gradient of the input.
#pragma once
#include "conv.cuh"
#include "gemm.cuh"

// The tile at (row, column) of y: rows are output channels of the group, columns are pixels.
template <int B, typename T, int PER>
__device__ __forceinline__ void store_forward(const ConvParams& p, u32 group, u64 row, u64 column, const T (&sum)[PER][PER]) {
#pragma unroll
  for (int j = 0; j < PER; ++j) {
    const u64 pixel = column + gemm_offset<B, PER>(gemm_column(), j);
    if (pixel >= p.pixels) continue;
    const u32 image = divide(p.out_plane, u32(pixel));
    const u64 at = pixel - u64(image) * p.out_plane.size;
#pragma unroll
    for (int i = 0; i < PER; ++i) {
      const u64 channel = row + gemm_offset<B, PER>(gemm_row(), i);
      if (channel >= p.group_out) continue;
      const u64 o = u64(group) * p.group_out + channel;
      static_cast<T*>(p.out)[(image * u64(p.co) + o) * p.out_plane.size + at] = epilogue(p, sum[i][j], o);
    }
  }
}

// The tile at (row, column) of gx: rows are input channels of the group, columns are pixels of the phase.
template <int B, typename T, int PER>
__device__ __forceinline__ void store_grad_input(const ConvParams& p, const Phase& phase, u32 group, u64 row, u64 column,
                                               const T (&sum)[PER][PER]) {
#pragma unroll
  for (int j = 0; j < PER; ++j) {
    const u64 pixel = column + gemm_offset<B, PER>(gemm_column(), j);
    if (pixel >= phase.pixels) continue;
    const u64 at = phase.offset_of(p, u32(pixel), group);
#pragma unroll
    for (int i = 0; i < PER; ++i) {
      const u64 channel = row + gemm_offset<B, PER>(gemm_row(), i);
      if (channel < p.group_in) static_cast<T*>(p.out)[at + channel * p.h * p.w] = sum[i][j];
    }
  }
}
