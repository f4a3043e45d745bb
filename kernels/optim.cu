// One optimizer step over many parameters in one launch. The configs of core/src/ops/optim.rs document the formulas.
//
//   optim_sgd_TYPE         p -= lr g                                                         with decay, g is g + decay p
//   optim_momentum_TYPE    v = momentum v + (1 - dampening) g;  p -= lr v, or lr (g + momentum v) with Nesterov
//   optim_adam_TYPE        m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g²;  p = p keep - size m / (sqrt(v) root + eps)
//                          with size = lr / (1 - b1^n), root = 1 / sqrt(1 - b2^n); keep = 1 - lr decay for AdamW, else 1
//   optim_rmspropCM_TYPE   v = a v + (1 - a) g²;  step = g / (sqrt(v) + eps);  p -= lr step; C is 1 if centered, M is 1 with
//                          momentum
//   optim_adagrad_TYPE     s += g²;  p -= lr / (1 + (n - 1) lr_decay) g / (sqrt(s) + eps)
//
// Launch: blocks of 256 threads, each for `chunk` elements of one slot; the table of slots is passed by value. One thread of each
// block reads the learning rate and the step count t from the device and computes in double what is the same for all elements
// (n = t + 1 - missed is the parameter's own step). The last block of a step's last launch increments t: by then every block has
// read it. Cost: SGD reads p and g and writes p; each state is read and written once. Overwrites p and the states.
// Budget: 96 registers, 64 bytes of shared memory.
#include "common.cuh"

// The slots of one launch: as many as fit into the 4096 bytes of a kernel's parameters.
#define SLOTS 62

// One parameter of the model. Mirrors `SlotParams` in optim.rs.
struct SlotParams {
  // [numel], as grad and states
  void* param;
  const void* grad;
  // In the order of `StepRule::state_names`; null beyond the rule's number.
  void* state[3];
  u64 numel;
  // The steps in which it had no gradient.
  u64 missed;
  // The first block of this slot.
  u32 block;
  // FRESH, ALIGNED
  u32 flags;
};
// The states are new, and all 0.
#define FRESH 1
// All addresses are multiples of 16.
#define ALIGNED 2

// Mirrors `OptimParams` in optim.rs.
struct OptimParams {
  // [2]: the learning rate, and the number of completed steps
  void* scalars;
  u32* counter;
  // The elements of a block: a multiple of four.
  u64 chunk;
  // The weight decay.
  double decay;
  double eps;
  // The factors of the first moving average, for the old value and the gradient: momentum and 1 - dampening, beta1, alpha.
  double first[2];
  // Those of Adam's second moving average.
  double second[2];
  // log beta1, log beta2
  double logs[2];
  // RMSprop's.
  double momentum;
  // Adagrad's.
  double lr_decay;
  double initial;
  u32 nesterov;
  u32 decoupled;
  u32 count;
  // Whether this is the last launch of the step, which increments the count.
  u32 last;
  SlotParams slots[SLOTS];
};

// Each rule: `rates` computes, in one thread, what depends on lr and t; the constructor passes it to every thread; operator()
// updates one element.

template <typename T>
struct Sgd {
  static constexpr int STATES = 0;
  T lr, decay;
  static __device__ void rates(const OptimParams&, const SlotParams&, double lr, double, T* rate) { rate[0] = T(lr); }
  __device__ Sgd(const OptimParams& p, const SlotParams&, const T* rate) : lr(rate[0]), decay(T(p.decay)) {}
  __device__ __forceinline__ void operator()(T& param, T g, T (&)[3]) const {
    // Without decay, 0 * param would turn an infinite parameter into NaN.
    if (decay != T(0)) g += decay * param;
    param -= lr * g;
  }
};

template <typename T>
struct Momentum {
  static constexpr int STATES = 1;
  T lr, decay, keep, share, ahead;
  bool nesterov;
  static __device__ void rates(const OptimParams&, const SlotParams&, double lr, double, T* rate) { rate[0] = T(lr); }
  __device__ Momentum(const OptimParams& p, const SlotParams& slot, const T* rate)
      : lr(rate[0]), decay(T(p.decay)), keep(T(p.first[0])), share(T(p.first[1])), ahead(T(p.first[0])), nesterov(p.nesterov) {
    if (slot.flags & FRESH) keep = T(0), share = T(1);
  }
  __device__ __forceinline__ void operator()(T& param, T g, T (&state)[3]) const {
    if (decay != T(0)) g += decay * param;
    const T v = keep == T(0) ? share * g : keep * state[0] + share * g;
    state[0] = v;
    param -= lr * (nesterov ? g + ahead * v : v);
  }
};

template <typename T>
struct Adam {
  static constexpr int STATES = 2;
  T size, root, keep, coupled, eps, keep1, share1, keep2, share2;
  static __device__ void rates(const OptimParams& p, const SlotParams& slot, double lr, double t, T* rate) {
    // 1 - beta^n without cancellation; at beta = 0 the logarithm is -inf and the correction 1.
    const double n = t + 1.0 - double(slot.missed);
    rate[0] = T(lr / -expm1(n * p.logs[0]));
    rate[1] = T(1.0 / sqrt(-expm1(n * p.logs[1])));
    rate[2] = T(p.decoupled ? 1.0 - lr * p.decay : 1.0);
  }
  __device__ Adam(const OptimParams& p, const SlotParams&, const T* rate)
      : size(rate[0]), root(rate[1]), keep(rate[2]), coupled(p.decoupled ? T(0) : T(p.decay)), eps(T(p.eps)),
        keep1(T(p.first[0])), share1(T(p.first[1])), keep2(T(p.second[0])), share2(T(p.second[1])) {}
  __device__ __forceinline__ void operator()(T& param, T g, T (&state)[3]) const {
    if (coupled != T(0)) g += coupled * param;
    const T m = keep1 * state[0] + share1 * g;
    const T v = keep2 * state[1] + share2 * (g * g);
    state[0] = m;
    state[1] = v;
    param = param * keep - size * m / (sqrt_of(v) * root + eps);
  }
};

template <typename T, bool CENTERED, bool MOMENTUM>
struct RmsProp {
  static constexpr int STATES = 1 + CENTERED + MOMENTUM;
  T lr, decay, keep, share, eps, momentum;
  static __device__ void rates(const OptimParams&, const SlotParams&, double lr, double, T* rate) { rate[0] = T(lr); }
  __device__ RmsProp(const OptimParams& p, const SlotParams&, const T* rate)
      : lr(rate[0]), decay(T(p.decay)), keep(T(p.first[0])), share(T(p.first[1])), eps(T(p.eps)), momentum(T(p.momentum)) {}
  __device__ __forceinline__ void operator()(T& param, T g, T (&state)[3]) const {
    if (decay != T(0)) g += decay * param;
    T square = state[0] = keep * state[0] + share * (g * g);
    if (CENTERED) {
      const T a = state[1] = keep * state[1] + share * g;
      square -= a * a;
      square = square < T(0) ? T(0) : square;  // rounding may take a variance below 0
    }
    T step = g / (sqrt_of(square) + eps);
    if (MOMENTUM) {
      T& b = state[1 + CENTERED];
      step = b = momentum * b + step;
    }
    param -= lr * step;
  }
};

template <typename T>
struct Adagrad {
  static constexpr int STATES = 1;
  T lr, decay, eps, start;
  static __device__ void rates(const OptimParams& p, const SlotParams& slot, double lr, double t, T* rate) {
    rate[0] = T(lr / (1.0 + (t - double(slot.missed)) * p.lr_decay));
  }
  __device__ Adagrad(const OptimParams& p, const SlotParams& slot, const T* rate)
      : lr(rate[0]), decay(T(p.decay)), eps(T(p.eps)), start(slot.flags & FRESH ? T(p.initial) : T(0)) {}
  __device__ __forceinline__ void operator()(T& param, T g, T (&state)[3]) const {
    if (decay != T(0)) g += decay * param;
    const T s = state[0] + start + g * g;
    state[0] = s;
    param -= lr * g / (sqrt_of(s) + eps);
  }
};

// Updates the elements begin..end of a slot: in packs where they are aligned, else one by one.
template <typename T, typename Rule>
__device__ __forceinline__ void sweep(const SlotParams& slot, const Rule& rule, u64 begin, u64 end) {
  T* param = static_cast<T*>(slot.param);
  const T* grad = static_cast<const T*>(slot.grad);
  T* states[3] = {static_cast<T*>(slot.state[0]), static_cast<T*>(slot.state[1]), static_cast<T*>(slot.state[2])};
  const u64 packs = slot.flags & ALIGNED ? (end - begin) / 4 : 0;
  for (u64 pack = threadIdx.x; pack < packs; pack += THREADS) {
    const u64 at = begin + pack * 4;
    Pack<T> p = *reinterpret_cast<const Pack<T>*>(param + at);
    const Pack<T> g = *reinterpret_cast<const Pack<T>*>(grad + at);
    Pack<T> s[3] = {};
#pragma unroll
    for (int n = 0; n < Rule::STATES; ++n) s[n] = *reinterpret_cast<const Pack<T>*>(states[n] + at);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      T state[3] = {s[0].v[k], s[1].v[k], s[2].v[k]};
      rule(p.v[k], g.v[k], state);
#pragma unroll
      for (int n = 0; n < Rule::STATES; ++n) s[n].v[k] = state[n];
    }
    *reinterpret_cast<Pack<T>*>(param + at) = p;
#pragma unroll
    for (int n = 0; n < Rule::STATES; ++n) *reinterpret_cast<Pack<T>*>(states[n] + at) = s[n];
  }
#pragma unroll 1
  for (u64 at = begin + packs * 4 + threadIdx.x; at < end; at += THREADS) {
    T state[3] = {}, p = param[at];
#pragma unroll
    for (int n = 0; n < Rule::STATES; ++n) state[n] = states[n][at];
    rule(p, grad[at], state);
    param[at] = p;
#pragma unroll
    for (int n = 0; n < Rule::STATES; ++n) states[n][at] = state[n];
  }
}

template <typename T, typename Rule>
__device__ __forceinline__ void step(const OptimParams& p) {
  __shared__ T rate[3];
  T* scalars = static_cast<T*>(p.scalars);
  if (p.count > 0) {
    // The slot of this block: the last one whose first block is not after it.
    u32 low = 0, high = p.count;
    while (high - low > 1) {
      const u32 middle = (low + high) / 2;
      if (p.slots[middle].block <= blockIdx.x) low = middle;
      else high = middle;
    }
    const SlotParams& slot = p.slots[low];
    if (threadIdx.x == 0) Rule::rates(p, slot, double(scalars[0]), double(scalars[1]), rate);
    __syncthreads();
    const u64 begin = (blockIdx.x - slot.block) * p.chunk;
    sweep<T>(slot, Rule(p, slot, rate), begin, smaller_of(begin + p.chunk, slot.numel));
  }
  if (p.last && last_block(p.counter, gridDim.x) && threadIdx.x == 0) scalars[1] += T(1);
}

#define STEP(name, suffix, T, ...) \
  KERNEL(optim_##name##_##suffix, OptimParams, THREADS) { step<T, __VA_ARGS__>(p); }
#define STEPS(suffix, T)                             \
  STEP(sgd, suffix, T, Sgd<T>)                       \
  STEP(momentum, suffix, T, Momentum<T>)             \
  STEP(adam, suffix, T, Adam<T>)                     \
  STEP(rmsprop00, suffix, T, RmsProp<T, false, false>) \
  STEP(rmsprop01, suffix, T, RmsProp<T, false, true>)  \
  STEP(rmsprop10, suffix, T, RmsProp<T, true, false>)  \
  STEP(rmsprop11, suffix, T, RmsProp<T, true, true>)   \
  STEP(adagrad, suffix, T, Adagrad<T>)
STEPS(f32, float)
STEPS(f64, double)
