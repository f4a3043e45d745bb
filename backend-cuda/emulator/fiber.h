// Stacks of fibers, and the context switch. A fiber runs one CUDA thread.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
// The address sanitizer needs to know the current stack and the memory that is out of bounds.
#define __asan_poison_memory_region(start, bytes) ((void)0)
#define __asan_unpoison_memory_region(start, bytes) ((void)0)
#define __sanitizer_start_switch_fiber(save, bottom, bytes) ((void)0)
#define __sanitizer_finish_switch_fiber(saved, bottom, bytes) ((void)0)
#endif

// Switches from the current stack to the one saved at `load`, and saves the current one in `*save`.
//
// It is an ordinary function to its caller, so it saves only the callee-saved registers (System V, x86-64): rbx, rbp, r12 to r15.
// The return address is on the stack already. MXCSR and the x87 control word are not saved, since no kernel changes them.
extern "C" void emulator_switch(void** save, void* load);
asm(R"(
  .text
  .globl emulator_switch
  .hidden emulator_switch
  .type emulator_switch, @function
  .p2align 4
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size emulator_switch, . - emulator_switch
)");

namespace emulator {

// The stacks of a host thread, in a free list: last in, first out, so that the next stack is in the cache.
class Stacks {
 public:
  static constexpr size_t kPage = 4096;
  static constexpr size_t kBytes = 256 << 10;  // address space; pages are committed when they are touched
  static constexpr size_t kPerMapping = 16;

  Stacks() = default;
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  ~Stacks() {
    for (char* mapped : mappings_) munmap(mapped, kBytes * kPerMapping);
  }

  // The lowest address of a stack, or null if mmap fails.
  char* take() {
    if (free_.empty() && !map()) return nullptr;
    char* stack = free_.back();
    free_.pop_back();
    return stack;
  }

  void give(char* stack) { free_.push_back(stack); }

  // The initial stack pointer with which a switch calls `entry`, which must not return.
  static void* start(char* stack, void (*entry)()) {
    // Cache colouring: stacks at equal offsets in a page would compete for the same cache sets.
    const size_t colour = reinterpret_cast<uintptr_t>(stack) / kBytes % 16 * 256;
    void** top = reinterpret_cast<void**>(stack + kBytes - colour);
    *--top = nullptr;  // the return address of `entry`, for debuggers; it also aligns the stack as a call does
    *--top = reinterpret_cast<void*>(entry);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    return top;
  }

  // Removes the address sanitizer's poison of frames that never return.
  static void clear([[maybe_unused]] char* stack) { __asan_unpoison_memory_region(stack + kPage, kBytes - kPage); }

 private:
  bool map() {
    void* mapped = mmap(nullptr, kBytes * kPerMapping, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (mapped == MAP_FAILED) return false;
    mappings_.push_back(static_cast<char*>(mapped));
    for (size_t i = 0; i < kPerMapping; ++i) {
      char* stack = mappings_.back() + i * kBytes;
      // A guard page: an overflow faults.
      if (mprotect(stack, kPage, PROT_NONE) != 0) return false;
      free_.push_back(stack);
    }
    return true;
  }

  std::vector<char*> mappings_, free_;
};

}  // namespace emulator
