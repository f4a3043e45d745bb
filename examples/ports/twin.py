"""What a program and its twin share: pseudo-random numbers by a formula, initial weights, and the printed lines. The same in
Rust: twin.rs.

With --double a twin computes in float64, from the same float32 weights and data.
"""

import gzip
import math
import pathlib
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent.parent / "data"
torch.set_default_dtype(torch.float64 if "--double" in sys.argv else torch.float32)


def tensor(numbers, shape):
    """Numbers rounded once to float32, then in the default dtype."""
    return torch.from_numpy(np.array(numbers, np.float64).astype(np.float32).reshape(shape)).to(torch.get_default_dtype())


def uniform(seed):
    """In [-1, 1), multiples of 2^-23: the upper 24 bits of `x = 1664525 x + 1013904223 mod 2^32`."""
    x = (seed * 2654435761 + 1) % 2**32
    while True:
        x = (x * 1664525 + 1013904223) % 2**32
        yield (x >> 8) / 2**23 - 1


def take(numbers, count):
    return [next(numbers) for _ in range(count)]


def noise(seed, *shape):
    """Uniform numbers in [-1, 1)."""
    return tensor(take(uniform(seed), math.prod(shape)), shape)


def normal(seed, *shape):
    """Numbers of mean 0 and variance 1, almost normal: sums of twelve uniform ones, halved."""
    numbers = uniform(seed)
    return tensor([sum(take(numbers, 12)) / 2 for _ in range(math.prod(shape))], shape)


def same_weights(model):
    """Set each parameter to `uniform` numbers, seeded by its name (FNV-1a): matrices and kernels within 1 / sqrt(fan_in),
    biases within 0.1, and the weights of norms within 0.1 of 1."""
    for name, param in model.named_parameters():
        seed = 2166136261
        for byte in name.encode():
            seed = (seed ^ byte) * 16777619 % 2**32
        if param.dim() >= 2:
            scale, shift = 1 / math.sqrt(math.prod(param.shape[1:])), 0
        else:
            scale, shift = 0.1, 1 if name.endswith("weight") else 0
        numbers = [x * scale + shift for x in take(uniform(seed), param.numel())]
        param.data = tensor(numbers, param.shape)


def digits(count):
    """The first of MNIST's test images, [count, 1, 28, 28], from 0 to 1."""
    content = gzip.decompress((DATA / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(content, np.uint8, count=count * 784, offset=16)
    return tensor(pixels.astype(np.float32) / np.float32(255), (count, 1, 28, 28))


def show(name, values):
    """Print `name: 1.5 -0.25`, of numbers or of the elements of a tensor."""
    values = values.detach().flatten().tolist() if isinstance(values, torch.Tensor) else values
    print(f"{name}: {' '.join(f'{float(value):.9g}' for value in values)}")
