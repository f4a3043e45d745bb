// The scheduler's state, one per host thread. emulator.cpp documents it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fiber.h"
#include "runtime.h"

namespace emulator {

constexpr unsigned kWarp = 32;
constexpr size_t kStatic = 48 << 10;  // CUDA's limit of static shared memory
constexpr size_t kGap = 64;           // red zone between arrays of shared memory
constexpr size_t kArena = 512 << 10;  // all arrays and gaps
constexpr unsigned char kUninitialized = 0xff;

// A launch, as `Request` of src/emulator.rs.
struct Request {
  const char* kernel;
  Call call;
  const void* params;
  uint64_t seed;
  unsigned grid[3], block[3];
  unsigned shared_limit;
  const unsigned *counters, *counters_end;
  enum Order : unsigned { kForward, kReversed, kShuffled } order;
};

enum class State : uint8_t { kFresh, kReady, kBarrier, kWarp, kDone };

struct Fiber {
  uint3 thread;
  unsigned index;
  State state = State::kFresh;
  char* stack = nullptr;
  void* top = nullptr;   // the saved stack pointer
  void* fake = nullptr;  // the address sanitizer's
  const Site* site = nullptr;  // on the fiber's own stack
  unsigned long long value = 0;
  unsigned mask = 0, source = 0;
  // Whether it has called a fence since the block started or incremented a block counter.
  bool fenced = false;
  Exchange result = {};
};

struct Array {
  const void* key;
  const char* name;
  size_t offset, bytes;
};

// Runs kernels on a host thread; its memory is reused by later launches.
class Machine {
 public:
  bool launch(const Request& request);
  const std::string& message() const { return message_; }

  // Called by fibers.
  void barrier(const Site& site) { suspend(State::kBarrier, &site); }
  Exchange exchange(const Site& site, unsigned mask, unsigned long long value, unsigned source);
  void fence() { current_->fenced = true; }
  void arrive();
  void* shared(const void* key, const char* name, size_t bytes, size_t alignment);

 private:
  static void entry();
  void resume(Fiber& fiber);
  void suspend(State state, const Site* site);
  void fail(const std::string& what);
  [[noreturn]] void abandon(const std::string& what);

  void run_block();
  void run_warp(unsigned first, unsigned lanes);
  bool release_lanes(unsigned first, unsigned lanes);
  bool release_group(const Fiber& one, unsigned first, unsigned lanes);
  void report_lane(unsigned first, unsigned lanes);
  bool release_barrier();
  void end_arrival();

  void begin_arena();
  void end_arena();
  void order(std::vector<uint8_t>& order, unsigned count);
  uint64_t random();
  template <class Holds>
  std::string crowd(Holds holds) const;

  const Request* request_ = nullptr;
  std::vector<Fiber> fibers_;
  unsigned threads_ = 0;
  Fiber* current_ = nullptr;
  Stacks stacks_;
  void* host_top_ = nullptr;
  const void* host_bottom_ = nullptr;  // the address sanitizer's, as the next two
  size_t host_bytes_ = 0;
  void* host_fake_ = nullptr;
  bool failed_ = false;
  bool arrived_ = false;  // whether the block has incremented a block counter
  std::string message_;
  std::vector<Array> arrays_;
  size_t arena_end_ = kArena;  // the end of the memory that may have been written
  size_t static_bytes_ = 0;
  std::vector<uint8_t> warps_, lanes_;
  uint64_t state_ = 0;
  alignas(1024) unsigned char arena_[kArena];
};

}  // namespace emulator
