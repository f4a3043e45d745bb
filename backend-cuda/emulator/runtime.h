// The interface between kernels and the scheduler (emulator.cpp). Includes nothing, so that kernels see only what NVRTC provides.
#pragma once

typedef __SIZE_TYPE__ size_t;

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

namespace emulator {

// The built-in variables of the running thread, and its index in the block. A fiber stays on its host thread, so thread-local
// storage suffices; constinit avoids an initialization check at every access.
struct Context {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
  unsigned index;
  // The range of the block counters; see arrive.
  const unsigned *counters, *counters_end;
};
extern constinit thread_local Context context;

inline unsigned lane() { return context.index % 32; }

// A call that waits for other threads. `id` distinguishes calls on one line: the expansion of a macro is one line.
struct Site {
  const char* call;
  const char* file;
  int line, id;
};

// Waits for all threads of the block.
void barrier(const Site& site);

// Waits for the lanes of the mask. Returns the value of lane `source`, and the participating lanes whose value is not 0.
struct Exchange {
  unsigned long long value;
  unsigned nonzero;
};
Exchange exchange(const Site& site, unsigned mask, unsigned long long value, unsigned source);

// __threadfence.
void fence();

// Called when a thread increments a block counter (last_block of common.cuh): all threads of the block must have called a fence
// after their writes, and must call another one before they read other blocks' writes. Threads run one at a time, so a missing
// fence would otherwise have no effect.
void arrive();

// The block's memory for a __shared__ declaration, which `key` identifies.
void* shared(const void* key, const char* name, size_t bytes, size_t alignment);

// A kernel, called once for every thread with the address of its parameters.
using Call = void (*)(const void* params);

// An entry of a file's table of kernels, which ends with a null name. src/emulator.rs reads it.
struct Kernel {
  const char* name;
  Call call;
};

template <auto kernel>
struct Thunk {
  static_assert(!sizeof(decltype(kernel)), "a kernel takes one struct by value");
};
template <class Params, void (*kernel)(Params)>
struct Thunk<kernel> {
  static void call(const void* params) { kernel(*static_cast<const Params*>(params)); }
};

}  // namespace emulator
