// Stacks, and the switch from one to another. A fiber is a CUDA thread: a function call that can wait.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
// The address sanitizer wants to know which stack is in use and which memory is out of bounds; nobody else does.
#define __asan_poison_memory_region(start, bytes) ((void)0)
#define __asan_unpoison_memory_region(start, bytes) ((void)0)
#define __sanitizer_start_switch_fiber(save, bottom, bytes) ((void)0)
#define __sanitizer_finish_switch_fiber(saved, bottom, bytes) ((void)0)
#endif

// Leaves the stack in use, to go on at `load` of another; `*save` is where to come back.
//
// To its caller it is a function like any other, so only the registers that a function must preserve (System V, x86-64)
// are saved, by pushing them: rbx, rbp, r12 to r15. The instruction after the call is on the stack already, and `ret`
// takes the other stack's. MXCSR and the x87 control word are left out because no kernel changes them.
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

// The stacks of a host thread. The one given back last is taken first: its memory is in the cache.
class Stacks {
 public:
  static constexpr size_t kPage = 4096;
  static constexpr size_t kBytes = 256 << 10;  // address space; a page counts when it is touched
  static constexpr size_t kTogether = 16;

  Stacks() = default;
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  ~Stacks() {
    for (char* mapped : mappings_) munmap(mapped, kBytes * kTogether);
  }

  // The lowest address of a stack, or null if the system has no more memory.
  char* take() {
    if (free_.empty() && !map()) return nullptr;
    char* stack = free_.back();
    free_.pop_back();
    return stack;
  }

  void give(char* stack) { free_.push_back(stack); }

  // What to load to call `entry` on this stack. It must not return.
  static void* start(char* stack, void (*entry)()) {
    // Equal addresses modulo a page fall into equal sets of the cache, so neighbours begin at different ones.
    const size_t colour = reinterpret_cast<uintptr_t>(stack) / kBytes % 16 * 256;
    void** top = reinterpret_cast<void**>(stack + kBytes - colour);
    *--top = nullptr;  // the caller of `entry`, for a debugger: none. It also aligns the stack as after a call
    *--top = reinterpret_cast<void*>(entry);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    return top;
  }

  // Forgets what frames that will never end have told the address sanitizer.
  static void clear([[maybe_unused]] char* stack) { __asan_unpoison_memory_region(stack + kPage, kBytes - kPage); }

 private:
  bool map() {
    void* mapped = mmap(nullptr, kBytes * kTogether, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (mapped == MAP_FAILED) return false;
    mappings_.push_back(static_cast<char*>(mapped));
    for (size_t i = 0; i < kTogether; ++i) {
      char* stack = mappings_.back() + i * kBytes;
      // An overflow faults instead of writing to the neighbour.
      if (mprotect(stack, kPage, PROT_NONE) != 0) return false;
      free_.push_back(stack);
    }
    return true;
  }

  std::vector<char*> mappings_, free_;
};

}  // namespace emulator
