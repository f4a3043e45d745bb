#!/usr/bin/env python3
"""Load a LeNet checkpoint written by minitorch into PyTorch and print its logits for the stored batch.

    python scripts/check_weights.py WEIGHTS.safetensors [--write LOGITS.safetensors]

The names, shapes and dtypes must be exactly those of the PyTorch model. The batch is `x` of
conformance/goldens/lenet.safetensors; `--write` stores the logits as one tensor called `logits`. Needs torch, numpy and
safetensors.
"""

import argparse
import pathlib

import safetensors.torch
import torch
from goldens import LeNet, load_strictly

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "conformance" / "goldens"


def main():
    parser = argparse.ArgumentParser(description="Load minitorch's LeNet weights into PyTorch.")
    parser.add_argument("weights", type=pathlib.Path, help="safetensors file written by minitorch")
    parser.add_argument("--batch", type=pathlib.Path, default=GOLDENS / "lenet.safetensors", help="file that contains `x`")
    parser.add_argument("--write", type=pathlib.Path, metavar="OUT", help="store the logits in this safetensors file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    model = load_strictly(LeNet().eval(), arguments.weights)
    x = safetensors.torch.load_file(arguments.batch)["x"]
    with torch.no_grad():
        logits = model(x)
    for row in logits.tolist():
        print(" ".join(f"{value: .6f}" for value in row))
    if arguments.write:
        safetensors.torch.save_file({"logits": logits.contiguous()}, arguments.write)


if __name__ == "__main__":
    main()
