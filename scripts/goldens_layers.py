#!/usr/bin/env python3
"""Write conformance/goldens/layers*.safetensors with PyTorch: every kind of layer that has weights, after a step of training.

    torch-env/bin/python scripts/goldens_layers.py              # or: goldens_layers.py OUTPUT_DIR
    torch-env/bin/python scripts/goldens_layers.py --check FILE # load weights that minitorch wrote, strictly; compare outputs

`layers-torch.safetensors` is the state_dict as a PyTorch user saves it; `layers.safetensors` has for each layer an input
`<layer>/x` and its output in evaluation `<layer>/y`. Environment and conventions are those of goldens.py.
"""

import argparse
import copy
import pathlib

import numpy as np
import safetensors.torch
import torch
from goldens import check, integers, load_strictly, randn, serialized, to_numpy, write
from torch import nn

DEFAULT = pathlib.Path(__file__).resolve().parent.parent / "conformance" / "goldens"

LAYERS = {
    "linear": (nn.Linear(5, 3), (4, 5)),
    "bare": (nn.Linear(5, 3, bias=False), (4, 5)),
    "conv1": (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 9)),
    "conv2": (nn.Conv2d(4, 6, (3, 2), padding=(1, 0), dilation=(1, 2), groups=2), (2, 4, 6, 5)),
    "up": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 3, 4)),
    "bn1": (nn.BatchNorm1d(5), (7, 5)),
    "bn2": (nn.BatchNorm2d(4), (3, 4, 5, 2)),
    "layer": (nn.LayerNorm([3, 5]), (2, 3, 5)),
    "group": (nn.GroupNorm(2, 6), (2, 6, 5)),
    "embedding": (nn.Embedding(7, 4), (2, 3)),
}


class Zoo(nn.Module):
    """One of each, under the names of LAYERS."""

    def __init__(self):
        super().__init__()
        for name, (layer, _) in LAYERS.items():
            setattr(self, name, copy.deepcopy(layer))


def inputs():
    shape = {name: shape for name, (_, shape) in LAYERS.items()}
    made = {name: randn(f"layers/{name}", *of) for name, of in shape.items()}
    made["embedding"] = integers("layers/embedding", 7, *shape["embedding"])
    return made


def outputs(model, dtype):
    model = copy.deepcopy(model).to(dtype).eval()
    results = {}
    for name, x in inputs().items():
        x = torch.from_numpy(x)
        x = x.long() if x.dtype == torch.int32 else x.to(dtype)
        results[name] = to_numpy(getattr(model, name)(x))
    return results


def main():
    parser = argparse.ArgumentParser(description="Write the layers' goldens, or check weights against them.")
    parser.add_argument("output", nargs="?", type=pathlib.Path, default=DEFAULT, help="directory to write to")
    parser.add_argument("--check", type=pathlib.Path, metavar="FILE", help="weights written by minitorch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if arguments.check:
        want = safetensors.torch.load_file(DEFAULT / "layers.safetensors")
        for name, y in outputs(load_strictly(Zoo(), arguments.check), torch.float32).items():
            error = np.abs(y - want[f"{name}/y"].numpy()).max()
            print(f"{name}: {error:.1e}")
            assert error < 1e-4, f"{name}: the loaded weights give another output"
        return
    model = Zoo()
    # A step away from ones and zeros: weights, and statistics by passes in training mode.
    with torch.no_grad():
        for name, value in model.named_parameters():
            value += 0.25 * torch.from_numpy(randn(f"layers/{name}", *value.shape))
    for seed in range(3):
        model.bn1(torch.from_numpy(2 * randn(f"layers/bn1/{seed}", 7, 5) + 1))
        model.bn2(torch.from_numpy(2 * randn(f"layers/bn2/{seed}", 3, 4, 5, 2) - 1))
    held = {f"{name}/x": x for name, x in inputs().items()}
    single = outputs(model, torch.float32)
    for name, y in outputs(model, torch.float64).items():
        check(f"{name}/y", y, single[name])
        held[f"{name}/y"] = y
    metadata = {"made_by": f"PyTorch {torch.__version__.split('+')[0]}"}
    write(arguments.output / "layers.safetensors", serialized(held, metadata))
    write(arguments.output / "layers-torch.safetensors", safetensors.torch.save(model.state_dict()))


if __name__ == "__main__":
    main()
