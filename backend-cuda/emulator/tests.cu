// Kernels for the emulator's own tests: some correct ones, and one for each error that it detects.
#include "common.cuh"

struct TestParams {
  const float* in;
  float* out;
  u32 n;
  u32 mode;
};

// The sum of a block, by shuffles within the warps and shared memory between them.
template <int WARPS>
__device__ float block_sum(float value) {
  __shared__ float partial[WARPS];
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.0f;
  for (int warp = 0; warp < WARPS; ++warp) sum += partial[warp];
  __syncthreads();
  return sum;
}

extern "C" __global__ void __launch_bounds__(256) test_sum(const __grid_constant__ TestParams p) {
  const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  const float sum = block_sum<8>(i < p.n ? p.in[i] : 0.0f);
  const float again = block_sum<8>(threadIdx.x == 0 ? sum : 0.0f);
  if (threadIdx.x == 0) p.out[blockIdx.x] = again;
}

#define TEST_UNARY(name, body)                                      \
  extern "C" __global__ void test_##name(TestParams p) {            \
    __shared__ float staged[32];                                    \
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;            \
    if (i < p.n) staged[threadIdx.x] = p.in[i];                     \
    __syncthreads();                                                \
    const float x = staged[threadIdx.x];                            \
    if (i < p.n) p.out[i] = (body);                                 \
  }
TEST_UNARY(double, x + x)
TEST_UNARY(exp, expf(x))

// Each thread reads the next thread's value; without the barrier the result depends on the order.
extern "C" __global__ void test_missing_barrier(TestParams p) {
  __shared__ __align__(16) float value[64];
  value[threadIdx.x] = threadIdx.x;
  if (p.mode == 1) __syncthreads();
  p.out[threadIdx.x] = value[(threadIdx.x + 1) % 64];
}

extern "C" __global__ void test_uninitialised(TestParams p) {
  __shared__ float row[4][8];
  __shared__ float one;
  float* out = p.out + blockIdx.x * 2;
  out[0] = row[3][7], out[1] = one;
  // The next block must not read these.
  row[3][7] = one = 1.0f;
}

extern "C" __global__ void test_atomics(TestParams p) {
  u32* counts = (u32*)p.out;
  atomicAdd(&counts[0], 1u);
  atomicMax(&counts[1], threadIdx.x);
  if (atomicCAS(&counts[2], 0u, 7u) == 0) atomicAdd(&counts[3], 1u);
}

extern "C" __global__ void test_warps(TestParams p) {
  const int lane = threadIdx.x;
  int* out = (int*)p.out + lane * 8;
  const u32 all = 0xffffffffu;
  out[0] = __shfl_sync(all, lane, 5);
  out[1] = __shfl_up_sync(all, lane, 3);
  out[2] = (int)__shfl_xor_sync(all, (double)lane, 9);
  out[3] = __shfl_sync(all, lane, lane + 33);
  out[4] = (int)__ballot_sync(all, lane % 2);
  out[5] = __any_sync(all, lane == 7) + 2 * __any_sync(all, lane < 0);
  out[6] = __shfl_xor_sync(all, lane + 7, 1);
  out[7] = lane < 16 ? (int)__ballot_sync(0xffffu, 1) : (int)__ballot_sync(0xffff0000u, lane == 31);
}

// Functions that differ from C++, or that are overloaded.
extern "C" __global__ void test_maths(TestParams p) {
  const float x = p.in[0];
  float* out = p.out;
  out[0] = fmaf(x, x, -x * x);
  out[1] = (float)(__clz(1) + __clz(0) + __ffs(8) + (int)__umulhi(0x80000000u, 6u));
  out[2] = __int_as_float(__float_as_int(1.5f) + 1);
  out[3] = (float)(__double_as_longlong(erf(1e300)) >> 52) + erfcf(0.0f) + exp(0.0f);
  out[4] = (float)(gridDim.y + blockDim.z);
}

// Each of the following kernels has an error; `mode` selects a variant.

extern "C" __global__ void test_divergent_barriers(TestParams p) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

extern "C" __global__ void test_exited(TestParams p) {
  if (threadIdx.x >= 20) return;
  __syncthreads();
}

extern "C" __global__ void test_masks(TestParams p) {
  const u32 lane = threadIdx.x % 32;
  switch (p.mode) {
    case 0:  // lane 3 never comes
      if (lane != 3) __ballot_sync(0xffffffffu, 1);
      __syncthreads();
      break;
    case 1:  // halves that overlap
      __ballot_sync(lane < 16 ? 0x0001ffffu : 0xffff8000u, 1);
      break;
    case 2:  // not in its own mask
      __ballot_sync(0x0000ffffu, 1);
      break;
    case 3:  // another lane that has exited
      if (lane == 9) return;
      p.out[lane] = __shfl_sync(0xffffffffu, 1.0f, 9);
      break;
    case 4:  // another lane outside of the mask
      if (lane < 8) p.out[lane] = __shfl_xor_sync(0xffu, 1.0f, 8);
      break;
    case 5:  // a lane beyond a block of 20 threads
      p.out[lane] = __shfl_xor_sync(0xffffffffu, 1.0f, 16);
      break;
    case 6:  // different functions
      if (lane == 0) __any_sync(0xffffffffu, 1);
      else __ballot_sync(0xffffffffu, 1);
      break;
  }
}

// Each block writes a number, and the last one adds them up. out[0] is the block counter of p.n blocks; out[1] is the sum.
extern "C" __global__ void test_arrivals(TestParams p) {
  if (p.mode == 0) {
    p.out[2 + blockIdx.x * 64 + threadIdx.x] = 1.0f;
    if (last_block((u32*)p.out, p.n) && threadIdx.x == 0) p.out[1] = p.out[2] + p.out[2 + 64 * p.n - 1];
    return;
  }
  // What last_block does: 1 without its first fence, 2 with that of some threads, 3 without the barrier after it, 4 without the
  // fence after the count.
  if (p.mode >= 3 || (p.mode == 2 && threadIdx.x < 60)) __threadfence();
  if (p.mode != 3) __syncthreads();
  if (threadIdx.x == 0) atomicAdd((u32*)p.out, 1u);
  __syncthreads();
  if (p.mode != 4) __threadfence();
}

extern "C" __global__ void test_shared_over(TestParams p) {
  __shared__ float large[12289];
  large[threadIdx.x] = 0.0f;
}

extern "C" __global__ void test_shared_most(TestParams p) {
  __shared__ float large[12288];
  large[threadIdx.x] = 0.0f;
}

extern "C" __global__ void test_shared_overrun(TestParams p) {
  __shared__ float values[32];
  volatile float* out = values;
  out[threadIdx.x + p.mode] = 1.0f;
}

// Writes one float past the end; scripts/emulator-sanitize checks that the address sanitizer detects it.
extern "C" __global__ void test_overrun(TestParams p) {
  if (threadIdx.x <= p.n) p.out[threadIdx.x] = 1.0f;
}
