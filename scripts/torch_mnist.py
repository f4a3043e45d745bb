#!/usr/bin/env python3
"""The mnist example in PyTorch, to compare accuracy and time with ours.

    python scripts/torch_mnist.py [--seed 0 1 2] [--epochs 5] [--threads 2]

LeNet-5 on data/mnist: Adam with a one-cycle learning rate (peak 4e-3, reached by a cosine from 1/25 of it over the first 30 % of the
steps), batches of 64, pixels normalised by the training set's mean and standard deviation. Runs on the CPU. Needs torch, numpy and
safetensors.
"""

import argparse
import gzip
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F
from goldens import LeNet

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "mnist"
BATCH = 64
PEAK = 4e-3


def read_idx(name, magic):
    content = gzip.decompress((DATA / name).read_bytes())
    rank = magic & 0xFF
    header = np.frombuffer(content, dtype=">i4", count=1 + rank)
    assert header[0] == magic, f"{name}: magic number {header[0]}, expected {magic}"
    return np.frombuffer(content, dtype=np.uint8, offset=4 * (1 + rank)).reshape(header[1:])


def load(part):
    pixels = read_idx(f"{part}-images-idx3-ubyte.gz", 0x0803).astype(np.float32)
    labels = read_idx(f"{part}-labels-idx1-ubyte.gz", 0x0801).astype(np.int64)
    images = (torch.from_numpy(pixels) / 255 - 0.1307) / 0.3081
    return images[:, None], torch.from_numpy(labels)


def accuracy(model, images, labels):
    with torch.no_grad():
        correct = sum((model(x).argmax(1) == y).sum().item() for x, y in zip(images.split(1000), labels.split(1000)))
    return 100 * correct / len(labels)


def train(seed, epochs, images, labels):
    torch.manual_seed(seed)
    model = LeNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=PEAK)
    steps = epochs * -(-len(images) // BATCH)
    # Only the learning rate follows the cycle; by default PyTorch would cycle Adam's first beta as well.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK, total_steps=steps, cycle_momentum=False)
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        print(f"  epoch {epoch + 1}: mean loss {total / len(images):.4f}, {time.perf_counter() - start:.1f} s", flush=True)
    return model


def main():
    parser = argparse.ArgumentParser(description="Train LeNet-5 on MNIST with PyTorch.")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one run for each")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    images, labels = load("train")
    test_images, test_labels = load("t10k")
    print(f"PyTorch {torch.__version__.split('+')[0]}, {arguments.threads} threads")
    for seed in arguments.seed:
        start = time.perf_counter()
        model = train(seed, arguments.epochs, images, labels)
        seconds = time.perf_counter() - start
        print(f"seed {seed}: test accuracy: {accuracy(model, test_images, test_labels):.2f} %, trained in {seconds:.1f} s")


if __name__ == "__main__":
    main()
