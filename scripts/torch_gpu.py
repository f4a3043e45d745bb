#!/usr/bin/env python3
"""The rows of examples/gpu_bench in PyTorch, timed by the same method on the same GPU.

    python scripts/torch_gpu.py [--json torch.json] [--rows TEXT] [--budget SECONDS] [--device cpu --toy]

Modes: `strict` is eager PyTorch with f32 products in f32, which is what minitorch computes; `tf32` is eager with TF32 allowed
in products and convolutions (10 bits of mantissa); `graph` is `strict` captured into a CUDA graph and replayed, for training
steps; `compiled` is `strict` through torch.compile, for training steps, within the time budget. A sample queues as many calls as take 20 ms
and waits for them; a time is the median of seven samples, per call. Needs torch and numpy.

Also measured are the GPU's limits: a copy of 1 GiB, and a kernel of fused multiply-adds on registers.
"""

import argparse
import json
import pathlib
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from goldens import LeNet  # noqa: E402
from goldens_resnet import ResNet20  # noqa: E402

SAMPLE, SAMPLES = 0.02, 7


class TextCnn(nn.Module):
    def __init__(self, maps):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(128, maps, words) for words in (3, 4, 5)])
        self.fc = nn.Linear(3 * maps, 2)

    def forward(self, x):
        return self.fc(torch.cat([F.relu(conv(x)).amax(2) for conv in self.convs], 1))


def rows(device, toy):
    """Name, and a function that prepares the call; the call takes its number."""

    def size(full, small):
        return small if toy else full

    def rand(*shape):
        return torch.rand(shape, device=device) - 0.5

    def rotating(numbers, make):
        count = 1 if toy else max(1, min(64, -(-(2 << 27) // (4 * numbers))))
        return [make() for _ in range(count)]

    def over(f, *shape):
        def prepare():
            xs = rotating(torch.Size(shape).numel(), lambda: rand(*shape))
            return lambda i: f(xs[i % len(xs)])

        return prepare

    n = size(1 << 24, 1 << 10)
    # minitorch's gelu is the exact one, PyTorch's default.
    for name, f in (("relu", torch.relu), ("exp", torch.exp), ("tanh", torch.tanh), ("gelu", F.gelu)):
        yield f"{name} 2^24", over(f, n)

    def add():
        xs = rotating(2 * n, lambda: (rand(n), rand(n)))
        return lambda i: xs[i % len(xs)][0] + xs[i % len(xs)][1]

    yield "add 2^24", add

    def add_small():
        x, y = rand(1 << 10), rand(1 << 10)
        return lambda i: x + y

    yield "add 2^10", add_small
    side = size(4096, 32)
    bias = rand(side)
    yield "bias to rows, 4096 x 4096", over(lambda x: x + bias, side, side)
    yield "transposing copy, 4096 x 4096", over(lambda x: x.t().contiguous(), side, side)

    def adam():
        p = nn.Parameter(rand(side, side))
        p.grad = rand(side, side)
        optimizer = torch.optim.Adam([p], lr=1e-3)
        return lambda i: optimizer.step()

    yield "Adam, 2^24 parameters", adam
    r, c = size(4096, 16), size(4096, 48)
    for name, f in (
        ("sum of all", lambda x: x.sum()),
        ("sum of rows", lambda x: x.sum(1)),
        ("sum of columns", lambda x: x.sum(0)),
        ("argmax of rows", lambda x: x.argmax(1)),
        ("softmax", lambda x: x.softmax(1)),
        ("log-softmax", lambda x: x.log_softmax(1)),
    ):
        yield f"{name}, 4096 x 4096", over(f, r, c)
    w, b = rand(c), rand(c)
    yield "layer norm, 4096 x 4096", over(lambda x: F.layer_norm(x, [c], w, b), r, c)

    def batch_norm():
        shape = [size(128, 2), size(64, 4), size(32, 4), size(32, 4)]
        xs = rotating(torch.Size(shape).numel(), lambda: rand(*shape).requires_grad_())
        layer, g = nn.BatchNorm2d(shape[1], device=device), rand(*shape)
        return lambda i: torch.autograd.grad(layer(xs[i % len(xs)]), (xs[i % len(xs)], layer.weight, layer.bias), g)

    yield "batch norm both ways, 128 x 64 x 32 x 32", batch_norm

    def cross_entropy():
        classes = size(1000, 10)
        xs = rotating(r * classes, lambda: rand(r, classes).requires_grad_())
        target = torch.arange(r, device=device) % classes
        return lambda i: torch.autograd.grad(F.cross_entropy(xs[i % len(xs)], target), xs[i % len(xs)])

    yield "cross-entropy both ways, 4096 x 1000", cross_entropy

    def indices(count, bound):
        return torch.tensor([i * 2_654_435_761 % bound for i in range(count)], device=device)

    def scatter():
        count, bins = size(1 << 20, 300), size(1000, 10)
        zeros, x, index = torch.zeros(bins, device=device), rand(count), indices(count, bins)
        return lambda i: zeros.scatter_add(0, index, x)

    yield "scatter_add 2^20 to 1000", scatter

    def embedding():
        tokens, words, width = size(2000, 60), size(400_000, 200), size(100, 5)
        table, index, g = rand(words, width).requires_grad_(), indices(tokens, words), rand(tokens, width)
        return lambda i: torch.autograd.grad(F.embedding(index, table), table, g)

    yield "embedding both ways, 2000 of 400,000 x 100", embedding

    def lazy():
        tokens, words, width = size(2000, 60), size(400_000, 200), size(100, 5)
        table = nn.Embedding(words, width, sparse=True, device=device)
        optimizer = torch.optim.SparseAdam(table.parameters(), lr=1e-3)
        index, g = indices(tokens, words), rand(tokens, width)

        def step(i):
            optimizer.zero_grad(set_to_none=True)
            table(index).backward(g)
            optimizer.step()

        return step

    yield "embedding both ways and lazy Adam, 2000 of 400,000 x 100", lazy

    def product(a_shape, b_shape, transposed=False):
        def prepare():
            a, b = rand(*a_shape), rand(*b_shape)
            return (lambda i: a.t() @ b.t()) if transposed else (lambda i: a @ b)

        return prepare

    for full in (512, 1024, 2048, 4096, 8192):
        n = size(full, full // 64)
        yield f"matmul {full}", product((n, n), (n, n))
    m, k, n = size(1024, 33), size(512, 40), size(768, 24)
    yield "matmul 1024 x 512 x 768, transposed", product((k, m), (n, k), True)
    batch, m, k = size(64, 2), size(256, 20), size(64, 16)
    yield "matmul 64 of 256 x 64 x 256", product((batch, m, k), (batch, k, m))

    def linear():
        m, k, n = size(64, 8), size(784, 40), size(128, 16)
        x, w, b = rand(m, k), rand(n, k), rand(n)
        return lambda i: F.linear(x, w, b)

    yield "linear 64 x 784 x 128", linear
    for name, x, w, stride, padding in (
        ("LeNet 1 to 6, 5 x 5", [64, 1, 28, 28], [6, 1, 5, 5], 1, 2),
        ("LeNet 6 to 16, 5 x 5", [64, 6, 14, 14], [16, 6, 5, 5], 1, 0),
        ("ResNet 16 of 32 x 32", [128, 16, 32, 32], [16, 16, 3, 3], 1, 1),
        ("ResNet 16 to 32, stride 2", [128, 16, 32, 32], [32, 16, 3, 3], 2, 1),
        ("ResNet 32 of 16 x 16", [128, 32, 16, 16], [32, 32, 3, 3], 1, 1),
        ("ResNet 64 of 8 x 8", [128, 64, 8, 8], [64, 64, 3, 3], 1, 1),
        ("64 of 56 x 56", [16, 64, 56, 56], [64, 64, 3, 3], 1, 1),
        ("256 of 14 x 14", [64, 256, 14, 14], [256, 256, 3, 3], 1, 1),
    ):
        if toy:
            x = [1, min(x[1], 4), min(x[2], 8), min(x[3], 8)]
            w = [min(w[0], 8), x[1], w[2], w[3]]

        def prepare(x=x, w=w, stride=stride, padding=padding):
            x, w, b = rand(*x), rand(*w), rand(w[0])
            return lambda i: F.conv2d(x, w, b, stride, padding)

        def both(x=x, w=w, stride=stride, padding=padding):
            leaves = [rand(*x).requires_grad_(), rand(*w).requires_grad_(), rand(w[0]).requires_grad_()]
            g = torch.rand_like(F.conv2d(*leaves, stride, padding)).detach()
            return lambda i: torch.autograd.grad(F.conv2d(*leaves, stride, padding), leaves, g)

        yield f"conv {name}", prepare
        yield f"conv {name}, both ways", both


def steps(device, toy):
    """Name, model, optimizer, input shape, classes."""

    def adam(parameters, capturable):
        return torch.optim.Adam(parameters, lr=1e-3, capturable=capturable)

    def sgd(parameters, capturable):
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)

    def mlp():
        return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))

    def size(full, small):
        return small if toy else full

    for batch in (64, 256):
        yield f"step LeNet-5, Adam, batch {batch}", LeNet, adam, (size(batch, 2), 1, 28, 28), 10
    yield "step MLP 784-256-128-10, Adam, batch 64", mlp, adam, (size(64, 2), 784), 10
    yield "step text CNN, Adam, batch 50", lambda: TextCnn(size(100, 4)), adam, (size(50, 2), 128, 40), 2
    side = size(32, 8)
    yield "step ResNet-20, SGD, batch 128", lambda: ResNet20(3, 10), sgd, (size(128, 1), 3, side, side), 10


def prepare_step(entry, device, mode):
    _, make, optimizer, shape, classes = entry
    model = make().to(device)
    x = torch.rand(shape, device=device) - 0.5
    target = torch.arange(shape[0], device=device) % classes
    optimizer = optimizer(model.parameters(), mode == "graph")
    forward = torch.compile(model) if mode == "compiled" else model

    def step(i=0):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(forward(x), target).backward()
        optimizer.step()

    if mode != "graph":
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        step()
    return lambda i: graph.replay()


def measure(f, wait):
    calls = [0]

    def queue(n):
        begin = time.perf_counter()
        for _ in range(n):
            f(calls[0])
            calls[0] += 1
        wait()
        return (time.perf_counter() - begin) / n

    for _ in range(3):
        queue(1)
    count, once = 1, queue(1)
    for _ in range(4):
        wanted = min(20_000, max(1, -int(-SAMPLE // max(once, 1e-9))))
        if wanted <= count:
            break
        count = min(wanted, 8 * count)
        once = queue(count)
    samples = sorted(queue(count) for _ in range(SAMPLES))
    return 1e6 * samples[SAMPLES // 2]


FMA = r"""
extern "C" __global__ void fma_peak(float* out, int rounds) {
    float a[16];
    for (int j = 0; j < 16; j++) a[j] = threadIdx.x + j;
    const float x = 0.999f + threadIdx.x * 1e-9f;
    for (int i = 0; i < rounds; i++) {
#pragma unroll
        for (int j = 0; j < 16; j++) a[j] = a[j] * x + 0.5f;
    }
    float sum = 0;
    for (int j = 0; j < 16; j++) sum += a[j];
    if (sum == 12345.678f) out[0] = sum;
}
"""


def ceilings(wait):
    """Bytes read plus written per second by a copy, and f32 operations per second."""
    x, y = torch.empty(1 << 28, device="cuda"), torch.empty(1 << 28, device="cuda")
    x.zero_()
    copy = 2 * 4 * (1 << 28) / (measure(lambda i: y.copy_(x), wait) / 1e6)
    del x, y
    try:
        kernel = torch.cuda._compile_kernel(FMA, "fma_peak")
        out = torch.zeros(1, device="cuda")
        blocks = 8 * torch.cuda.get_device_properties(0).multi_processor_count
        us = measure(lambda i: kernel((blocks, 1, 1), (256, 1, 1), (out, 4096)), wait)
        flops = 2 * 16 * 4096 * 256 * blocks / (us / 1e6)
    except Exception as error:  # a private interface, which may be missing
        print(f"no peak of arithmetic: {error}")
        flops = None
    return copy, flops


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--rows", default="")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true", help="small sizes, for a machine without a GPU")
    parser.add_argument("--budget", type=float, default=90, help="seconds after which nothing new is compiled")
    args = parser.parse_args()
    begin = time.perf_counter()
    on_gpu = args.device == "cuda"
    wait = torch.cuda.synchronize if on_gpu else (lambda: None)

    def precision(tf32):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32

    result = {"framework": f"PyTorch {torch.__version__}", "rows": {}}

    def write():
        if args.json:
            temporary = args.json.with_suffix(".new")
            temporary.write_text(json.dumps(result, indent=1) + "\n")
            temporary.replace(args.json)

    def note(name, mode, us):
        print(f"{name:<42} {mode:<9} {us:>11.2f} us", flush=True)
        result["rows"].setdefault(name, {})[mode] = us

    if on_gpu:
        result["device"] = torch.cuda.get_device_name()
        result["cuda"] = torch.version.cuda
        result["copy"], result["flops"] = ceilings(wait)
        print(f"{result['device']}: copy {result['copy'] / 1e9:.0f} GB/s, FMA {(result['flops'] or 0) / 1e12:.1f} TFLOP/s")
    for name, prepare in rows(args.device, args.toy):
        if args.rows not in name:
            continue
        call = prepare()
        tensor_cores = name.startswith(("matmul", "linear", "conv"))
        for mode in ["strict"] + ["tf32"] * (tensor_cores and on_gpu):
            precision(mode == "tf32")
            with torch.enable_grad() if "both ways" in name else torch.inference_mode(name != "Adam, 2^24 parameters"):
                note(name, mode, measure(call, wait))
        precision(False)
    entries = [entry for entry in steps(args.device, args.toy) if args.rows in entry[0]]
    for mode in ["strict"] + ["tf32", "graph", "compiled"] * on_gpu:
        precision(mode == "tf32")
        for entry in entries:
            if mode == "compiled" and time.perf_counter() - begin > args.budget:
                continue
            try:
                note(entry[0], mode, measure(prepare_step(entry, args.device, mode), wait))
            except Exception as error:  # one mode of one row may be unsupported; the others still count
                print(f"{entry[0]}, {mode}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
            write()
    write()


if __name__ == "__main__":
    main()
