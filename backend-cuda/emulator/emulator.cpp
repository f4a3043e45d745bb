// The scheduler: runs one block after another, with a fiber per CUDA thread. A fiber runs until it waits or exits. When no fiber
// of the block can run, those that wait for each other are released, or an error is reported.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>

#include "machine.h"

namespace emulator {

constinit thread_local Context context = {};

namespace {

std::string text(const char* format, auto... values) {
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, format, values...);
  return buffer;
}

std::string place(const uint3& at) { return text("(%u, %u, %u)", at.x, at.y, at.z); }
std::string place(const Site& site) { return text("%s (%s:%d)", site.call, site.file, site.line); }

bool same(const Site& a, const Site& b) {
  return a.id == b.id && a.line == b.line && std::strcmp(a.file, b.file) == 0;
}

size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// Null while no kernel runs.
constinit thread_local Machine* active = nullptr;

}  // namespace

void Machine::fail(const std::string& what) {
  if (!failed_) message_ = text("kernel `%s`, block %s: ", request_->kernel, place(context.block).c_str()) + what;
  failed_ = true;
}

// Fails and suspends the fiber forever.
void Machine::abandon(const std::string& what) {
  fail(what);
  suspend(State::kReady, nullptr);
  std::abort();
}

void Machine::entry() {
  Machine& machine = *active;
  __sanitizer_finish_switch_fiber(nullptr, &machine.host_bottom_, &machine.host_bytes_);
  machine.request_->call(machine.request_->params);
  machine.suspend(State::kDone, nullptr);
  std::abort();
}

void Machine::resume(Fiber& fiber) {
  if (fiber.state == State::kFresh) {
    fiber.stack = stacks_.take();
    if (fiber.stack == nullptr) return fail("there is no memory for the stack of a thread");
    fiber.top = Stacks::start(fiber.stack, entry);
  }
  current_ = &fiber;
  context.thread = fiber.thread;
  context.index = fiber.index;
  __sanitizer_start_switch_fiber(&host_fake_, fiber.stack, Stacks::kBytes);
  emulator_switch(&host_top_, fiber.top);
  __sanitizer_finish_switch_fiber(host_fake_, nullptr, nullptr);
  if (fiber.state == State::kDone) {
    stacks_.give(fiber.stack);
    fiber.stack = nullptr;
  }
}

// Back to the scheduler, from a fiber.
void Machine::suspend(State state, const Site* site) {
  Fiber& fiber = *current_;
  fiber.state = state;
  fiber.site = site;
  // Null tells the sanitizer that the fiber has exited.
  __sanitizer_start_switch_fiber(state == State::kDone ? nullptr : &fiber.fake, host_bottom_, host_bytes_);
  emulator_switch(&fiber.top, host_top_);
  __sanitizer_finish_switch_fiber(fiber.fake, &host_bottom_, &host_bytes_);
}

Exchange Machine::exchange(const Site& site, unsigned mask, unsigned long long value, unsigned source) {
  Fiber& fiber = *current_;
  if ((mask >> fiber.index % kWarp & 1) == 0) {
    abandon(text("thread %s calls %s with mask 0x%08x, which lacks its own lane %u", place(fiber.thread).c_str(),
                 place(site).c_str(), mask, fiber.index % kWarp));
  }
  fiber.mask = mask;
  fiber.value = value;
  fiber.source = source;
  suspend(State::kWarp, &site);
  return fiber.result;
}

// A fence orders the writes of its own thread only, so every thread needs one, and then a barrier.
void Machine::arrive() {
  const auto unfenced = [](const Fiber& f) { return !f.fenced; };
  if (std::any_of(fibers_.begin(), fibers_.begin() + threads_, unfenced)) {
    abandon("thread " + place(current_->thread) + " increments a block counter before " + crowd(unfenced) +
            " has called __threadfence: its writes may be invisible to other blocks");
  }
  for (unsigned i = 0; i < threads_; ++i) fibers_[i].fenced = false;
  arrived_ = true;
}

void Machine::end_arrival() {
  const auto unfenced = [](const Fiber& f) { return !f.fenced; };
  if (arrived_ && std::any_of(fibers_.begin(), fibers_.begin() + threads_, unfenced)) {
    fail("no __threadfence of " + crowd(unfenced) +
         " after the block incremented a block counter: other blocks' writes may be invisible to it");
  }
}

void* Machine::shared(const void* key, const char* name, size_t bytes, size_t alignment) {
  for (const Array& array : arrays_) {
    if (array.key == key) return arena_ + array.offset;
  }
  static_bytes_ = round_up(static_bytes_, alignment) + bytes;
  const size_t limit = std::min<size_t>(kStatic, request_->shared_limit);
  if (static_bytes_ > limit) {
    abandon(text("shared memory: %zu bytes up to `%s`; a block has %zu", static_bytes_, name, limit));
  }
  const size_t offset = round_up(arena_end_, alignment);
  if (offset + bytes + kGap > kArena || alignment > alignof(Machine)) {
    abandon(text("shared memory: too many arrays, or too large an alignment, at `%s`", name));
  }
  arrays_.push_back({key, name, offset, bytes});
  arena_end_ = offset + bytes + kGap;
  // begin_arena has filled the arrays that were known then; this memory was not written since the launch began.
  __asan_unpoison_memory_region(arena_ + offset, bytes);
  return arena_ + offset;
}

// Resets shared memory to uninitialized contents at the start of a block.
void Machine::begin_arena() {
  __asan_unpoison_memory_region(arena_, kArena);
  std::memset(arena_, kUninitialized, arena_end_);
  __asan_poison_memory_region(arena_, kArena);
  for ([[maybe_unused]] const Array& array : arrays_) __asan_unpoison_memory_region(arena_ + array.offset, array.bytes);
}

// Checks for writes into the gaps between arrays.
void Machine::end_arena() {
  __asan_unpoison_memory_region(arena_, kArena);
  for (const Array& array : arrays_) {
    const unsigned char* gap = arena_ + array.offset + array.bytes;
    if (std::any_of(gap, gap + kGap, [](unsigned char byte) { return byte != kUninitialized; })) {
      fail(text("a thread writes beyond the end of the shared array `%s`", array.name));
    }
  }
}

uint64_t Machine::random() {  // splitmix64
  uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

// The numbers below `count` in the order of this launch.
void Machine::order(std::vector<uint8_t>& order, unsigned count) {
  order.resize(count);
  for (unsigned i = 0; i < count; ++i) {
    order[i] = static_cast<uint8_t>(request_->order == Request::kReversed ? count - 1 - i : i);
  }
  if (request_->order != Request::kShuffled) return;
  for (unsigned i = count; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
}

// "thread (0, 0, 0)", or "32 threads (first (0, 0, 0))".
template <class Holds>
std::string Machine::crowd(Holds holds) const {
  unsigned count = 0;
  const Fiber* first = nullptr;
  for (unsigned i = 0; i < threads_; ++i) {
    if (!holds(fibers_[i])) continue;
    if (first == nullptr) first = &fibers_[i];
    ++count;
  }
  if (first == nullptr) return "no thread";
  const std::string where = place(first->thread);
  return count == 1 ? "thread " + where : text("%u threads (first %s)", count, where.c_str());
}

void Machine::run_block() {
  begin_arena();
  arrived_ = false;
  for (unsigned i = 0; i < threads_; ++i) fibers_[i].state = State::kFresh, fibers_[i].fenced = false;
  const unsigned count = (threads_ + kWarp - 1) / kWarp;
  do {
    order(warps_, count);
    for (unsigned warp : warps_) {
      run_warp(warp * kWarp, std::min(kWarp, threads_ - warp * kWarp));
      if (failed_) return;
    }
  } while (release_barrier());
  if (!failed_) end_arrival();
  end_arena();
}

// Runs a warp until all lanes wait for other warps or have exited.
void Machine::run_warp(unsigned first, unsigned lanes) {
  do {
    order(lanes_, lanes);
    for (unsigned lane : lanes_) {
      Fiber& fiber = fibers_[first + lane];
      if (fiber.state > State::kReady) continue;
      resume(fiber);
      if (failed_) return;
    }
  } while (release_lanes(first, lanes));
}

// Releases groups of lanes that are complete, and returns whether there was one. Lanes of incomplete groups would wait forever,
// since no other warp can complete them.
bool Machine::release_lanes(unsigned first, unsigned lanes) {
  bool released = false, waiting = false;
  for (unsigned lane = 0; lane < lanes && !failed_; ++lane) {
    const Fiber& fiber = fibers_[first + lane];
    if (fiber.state != State::kWarp) continue;
    waiting = true;
    released |= release_group(fiber, first, lanes);
  }
  if (waiting && !released && !failed_) report_lane(first, lanes);
  return released && !failed_;
}

// Releases the lanes of a fiber's mask if all of them wait; lanes that have exited or do not exist are not waited for.
bool Machine::release_group(const Fiber& one, unsigned first, unsigned lanes) {
  Exchange result = {};
  unsigned members = 0;
  for (unsigned lane = 0; lane < lanes; ++lane) {
    const Fiber& fiber = fibers_[first + lane];
    if ((one.mask >> lane & 1) == 0 || fiber.state == State::kDone) continue;
    const bool here = fiber.state == State::kWarp && fiber.mask == one.mask;
    if (!here || std::strcmp(fiber.site->call, one.site->call) != 0) return false;
    members |= 1u << lane;
    if (fiber.value != 0) result.nonzero |= 1u << lane;
  }
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if ((members >> lane & 1) == 0) continue;
    Fiber& fiber = fibers_[first + lane];
    if ((members >> fiber.source & 1) == 0) {
      fail(text("thread %s reads lane %u in %s with mask 0x%08x, but that lane %s", place(fiber.thread).c_str(), fiber.source,
                place(*fiber.site).c_str(), fiber.mask,
                fiber.source >= lanes                  ? "is not in the block"
                : (fiber.mask >> fiber.source & 1) == 0 ? "is not in the mask"
                                                        : "has exited"));
      return false;
    }
    result.value = fibers_[first + fiber.source].value;
    fiber.result = result;
  }
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if (members >> lane & 1) fibers_[first + lane].state = State::kReady;
  }
  return true;
}

// Reports the first lane that waits for another one, and where that one waits.
void Machine::report_lane(unsigned first, unsigned lanes) {
  for (unsigned at = first; at < first + lanes; ++at) {
    const Fiber& one = fibers_[at];
    if (one.state != State::kWarp) continue;
    for (unsigned lane = 0; lane < lanes; ++lane) {
      const Fiber& other = fibers_[first + lane];
      if ((one.mask >> lane & 1) == 0 || other.state == State::kDone) continue;
      const bool in_warp = other.state == State::kWarp;
      if (in_warp && other.mask == one.mask && std::strcmp(other.site->call, one.site->call) == 0) continue;
      const std::string with = in_warp ? text(" with mask 0x%08x", other.mask) : "";
      return fail(text("thread %s waits in %s with mask 0x%08x for thread %s, which waits in %s%s",
                       place(one.thread).c_str(), place(*one.site).c_str(), one.mask, place(other.thread).c_str(),
                       place(*other.site).c_str(), with.c_str()));
    }
  }
  fail("a deadlock of lanes");
}

// Releases all threads if they wait at the same barrier. Returns false if all have exited, or there is an error.
bool Machine::release_barrier() {
  const Fiber* one = nullptr;
  unsigned done = 0;
  for (unsigned i = 0; i < threads_; ++i) {
    const Fiber& fiber = fibers_[i];
    if (fiber.state == State::kDone) {
      ++done;
      continue;
    }
    if (one == nullptr) one = &fiber;
    if (!same(*one->site, *fiber.site)) {
      const Site &here = *one->site, &there = *fiber.site;
      const auto at = [](const Site& site) {
        return [&site](const Fiber& f) { return f.state == State::kBarrier && same(*f.site, site); };
      };
      fail("different barriers: " + crowd(at(here)) + " at " + place(here) + ", " + crowd(at(there)) + " at " + place(there));
      return false;
    }
  }
  if (one == nullptr) return false;
  if (done != 0) {
    const auto is = [](State state) { return [state](const Fiber& f) { return f.state == state; }; };
    fail("a barrier that some never reach: " + crowd(is(State::kBarrier)) + " at " + place(*one->site) + ", " +
         crowd(is(State::kDone)) + " exited");
    return false;
  }
  for (unsigned i = 0; i < threads_; ++i) fibers_[i].state = State::kReady;
  return true;
}

bool Machine::launch(const Request& request) {
  const unsigned(&grid)[3] = request.grid, (&block)[3] = request.block;
  request_ = &request;
  failed_ = false;
  threads_ = block[0] * block[1] * block[2];
  if (fibers_.size() < threads_) fibers_.resize(threads_);
  for (unsigned i = 0; i < threads_; ++i) {
    fibers_[i].index = i;
    fibers_[i].thread = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
  }
  std::memset(arena_, kUninitialized, arena_end_);
  arrays_.clear();
  arena_end_ = 0;
  static_bytes_ = 0;
  context.block_dim = {block[0], block[1], block[2]};
  context.grid_dim = {grid[0], grid[1], grid[2]};
  context.counters = request.counters;
  context.counters_end = request.counters_end;
  active = this;

  // The shuffled order of blocks is i -> (step * i + start) modulo their number: a permutation without a list.
  using Wide = unsigned __int128;
  const uint64_t blocks = uint64_t{grid[0]} * grid[1] * grid[2];
  uint64_t step = 1, start = 0;
  state_ = request.seed;
  if (request.order == Request::kShuffled) {
    start = random() % blocks;
    do step = random() % blocks + 1;
    while (std::gcd(step, blocks) != 1);
  }
  for (uint64_t i = 0; i < blocks && !failed_; ++i) {
    const uint64_t reversed = request.order == Request::kReversed ? blocks - 1 - i : i;
    const uint64_t at = static_cast<uint64_t>((Wide{reversed} * step + start) % blocks);
    const uint64_t row = at / grid[0];
    context.block = {unsigned(at % grid[0]), unsigned(row % grid[1]), unsigned(row / grid[1])};
    run_block();
  }
  if (failed_) {
    // Kernels have no destructors, so suspended fibers can be discarded.
    for (unsigned i = 0; i < threads_; ++i) {
      Fiber& fiber = fibers_[i];
      if (fiber.stack == nullptr) continue;
      Stacks::clear(fiber.stack);
      stacks_.give(fiber.stack);
      fiber.stack = nullptr;
    }
    end_arena();
  }
  active = nullptr;
  return !failed_;
}

void barrier(const Site& site) { active->barrier(site); }

Exchange exchange(const Site& site, unsigned mask, unsigned long long value, unsigned source) {
  return active->exchange(site, mask, value, source);
}

void fence() { active->fence(); }

void arrive() { active->arrive(); }

void* shared(const void* key, const char* name, size_t bytes, size_t alignment) {
  return active->shared(key, name, bytes, alignment);
}

}  // namespace emulator

// Runs a kernel to completion. If it fails, writes the reason to `message`, truncated to `capacity` bytes, as a C string.
extern "C" bool emulator_launch(const emulator::Request* request, char* message, size_t capacity) {
  thread_local const auto machine = std::make_unique<emulator::Machine>();
  if (machine->launch(*request)) return true;
  std::snprintf(message, capacity, "%s", machine->message().c_str());
  return false;
}
