#!/usr/bin/env python3
"""The resnet example in PyTorch, to compare accuracy and time with ours.

    python scripts/torch_resnet.py [--data mnist|cifar10] [--seed 0 1 2] [--epochs 5] [--limit N] [--threads 2]

ResNet-20 (scripts/goldens_resnet.py): SGD with Nesterov momentum 0.9 and weight decay 5e-4, learning rate from 0.1 to 0 along half
a cosine, batches of 128; training images are shifted at random by up to 2 pixels, those of CIFAR-10 by up to 4 and also
mirrored. Runs on the CPU, or with --device cuda. Needs torch, numpy and safetensors.
"""

import argparse
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F
import torch_mnist
from goldens_resnet import ResNet20

CIFAR10 = pathlib.Path(__file__).resolve().parent.parent / "data" / "cifar10"
MEAN, STD = torch.tensor([[0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]]).reshape(2, 3, 1, 1)
BATCH = 128
PEAK = 0.1


def cifar10(part):
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if part == "train" else ["test_batch.bin"]
    records = np.concatenate([np.fromfile(CIFAR10 / name, np.uint8).reshape(-1, 3073) for name in names])
    images = torch.from_numpy(records[:, 1:].astype(np.float32)).reshape(-1, 3, 32, 32) / 255
    return (images - MEAN) / STD, torch.from_numpy(records[:, 0].astype(np.int64))


# Reader, largest shift, whether images are mirrored at random, the value of black after normalisation.
SETS = {
    "mnist": (torch_mnist.load, 2, False, torch.full((1, 1, 1), -0.1307 / 0.3081)),
    "cifar10": (cifar10, 4, True, -MEAN / STD),
}


def augmented(images, shift, flip, black):
    """Shifts each image at random, with black outside, and mirrors half of them if `flip`."""
    n, channels, height, width = images.shape
    padded = black.expand(channels, height + 2 * shift, width + 2 * shift).repeat(n, 1, 1, 1)
    padded[:, :, shift : shift + height, shift : shift + width] = images
    mirrored = torch.rand(n) < 0.5 if flip else torch.zeros(n, dtype=torch.bool)
    padded = torch.where(mirrored[:, None, None, None], padded.flip(3), padded)
    down, right = torch.randint(0, 2 * shift + 1, (2, n, 1))
    rows = (down + torch.arange(height))[:, None, :, None]
    columns = (right + torch.arange(width))[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], torch.arange(channels)[None, :, None, None], rows, columns]


def accuracy(model, images, labels, device):
    model.eval()
    with torch.no_grad():
        batches = zip(images.split(1000), labels.split(1000))
        right = sum((model(x.to(device)).argmax(1).cpu() == y).sum().item() for x, y in batches)
    model.train()
    return 100 * right / len(labels)


def train(seed, epochs, images, labels, augment, device):
    torch.manual_seed(seed)
    model = ResNet20(images.shape[1]).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=PEAK, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps, step = epochs * math.ceil(len(images) / BATCH), 0
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for batch in torch.randperm(len(images)).split(BATCH):
            for group in optimizer.param_groups:
                group["lr"] = PEAK * (1 + math.cos(math.pi * step / steps)) / 2
            x, y = augment(images[batch]).to(device), labels[batch].to(device)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            total += loss.item() * len(batch)
        print(f"  epoch {epoch + 1}: mean loss {total / len(images):.4f}, {time.perf_counter() - start:.1f} s", flush=True)
    return model


def main():
    parser = argparse.ArgumentParser(description="Train ResNet-20 with PyTorch.")
    parser.add_argument("--data", choices=SETS, default="mnist")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one run for each")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--limit", type=int, help="use only the first so many images of each set")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    load, shift, flip, black = SETS[arguments.data]
    images, labels = (part[: arguments.limit] for part in load("train"))
    test_images, test_labels = (part[: arguments.limit] for part in load("t10k"))
    print(f"PyTorch {torch.__version__.split('+')[0]}, {arguments.threads} threads, {arguments.device}")
    for seed in arguments.seed:
        start = time.perf_counter()
        augment = lambda batch: augmented(batch, shift, flip, black)
        model = train(seed, arguments.epochs, images, labels, augment, arguments.device)
        seconds = time.perf_counter() - start
        figure = accuracy(model, test_images, test_labels, arguments.device)
        print(f"seed {seed}: test accuracy: {figure:.2f} %, trained in {seconds:.1f} s")


if __name__ == "__main__":
    main()
