// The products in the gradient of a linear layer: g w, and gᵀ x together with the sums of the rows of gᵀ.
//
//   matmul_grad_SIZE_TYPE  as matmul_tile in matmul.cu, where A is a gradient. Given the output of a relu, A is masked by it while
//                          it is loaded. If they are wanted, the sums of A's rows (the gradient of a bias) are computed by the
//                          blocks of the first column of tiles, from the slabs in shared memory. Cost: that of the product, and
//                          one more read of A's size for the mask.
//
// Budget: 128 registers, 19460 bytes of shared memory.
// Budget of matmul_grad_64: 128 registers, 36868 bytes of shared memory.
// Budget of matmul_grad_32: 128 registers, 38916 bytes of shared memory.
#include "matmul.cuh"

template <typename T, int B, int BK, int PER>
__device__ __forceinline__ void product(const MatmulParams& p) { tile<T, B, BK, PER, true>(p); }
GEMM_KERNELS(matmul_grad, MatmulParams, product)
