// The products of a linear map's gradients: g w, and gᵀ x with the sums of g's rows.
//
//   matmul_grad_SIZE_TYPE  as matmul_tile in matmul.cu, of an a that is a gradient: it is read as it is before a relu if the relu's
//                          result is given, and the sums of its rows, which are the gradient of a bias, are written if they are
//                          wanted: by the blocks of the first tiles of n, from the slabs in shared memory. Cost: that of the
//                          product, and one more read of a's size for the mask.
//
// Budget: 128 registers, 19460 bytes of shared memory.
// Budget of matmul_grad_64: 128 registers, 36868 bytes of shared memory.
// Budget of matmul_grad_32: 128 registers, 38916 bytes of shared memory.
#include "matmul.cuh"

TILES(grad, true)
