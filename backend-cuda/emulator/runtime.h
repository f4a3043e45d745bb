// What kernels and the scheduler (emulator.cpp) know of each other. Includes nothing: kernels see what NVRTC would show them.
#pragma once

typedef __SIZE_TYPE__ size_t;

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

namespace emulator {

// The built-in variables of the thread that runs, and its index in the block. A fiber never leaves its host thread, so
// thread-local storage is enough; constinit spares every access the check whether it was initialised.
struct Context {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
  unsigned index;
  // Where blocks count themselves in; see arrive.
  const unsigned *counters, *counters_end;
};
extern constinit thread_local Context context;

inline unsigned lane() { return context.index % 32; }

// A place in a kernel that waits for other threads. `id` tells two barriers on one line apart: a kernel that a macro
// makes is one line.
struct Site {
  const char* call;
  const char* file;
  int line, id;
};

// Waits for all threads of the block; how many of them came with a true predicate.
unsigned barrier(const Site& site, bool predicate);

// Waits for the lanes of the mask. Returns the value of lane `source`, the lanes that came, and those of them whose value
// is not 0.
struct Exchange {
  unsigned long long value;
  unsigned lanes, nonzero;
};
Exchange exchange(const Site& site, unsigned mask, unsigned long long value, unsigned source);

// What a thread wrote before is visible to other blocks, and what they made visible to it.
void fence();

// A block counts itself in, to find out whether it is the last: what its threads wrote has to be visible, and each has to fence
// again before it reads what other blocks wrote. Threads run one at a time, so without this check a missing fence would not show.
void arrive();

// The block's memory for the declaration that `key` stands for, the same for all its threads.
void* shared(const void* key, const char* name, size_t bytes, size_t alignment);

// The dynamic shared memory of the block.
void* dynamic_shared();

// A kernel as the scheduler calls it: once for every thread, with the address of its argument.
using Call = void (*)(const void* params);

// An entry of a file's table of kernels, which ends with one that has no name. Rust reads it.
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
