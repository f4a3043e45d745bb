#!/usr/bin/env python3
"""Write conformance/goldens/optim.safetensors with PyTorch: ten steps of the optimizers that are composed of operations.

    torch-env/bin/python scripts/goldens_optim.py              # or: goldens_optim.py OUTPUT_DIR

Two parameters `start/0` [7] and `start/1` [3, 2] have the gradients `grads/0` [10, 7] and `grads/1` [10, 3, 2], one row a step;
`<case>/0` and `<case>/1` are their values after each step. The second parameter is in a group of its own, with a quarter of the
rate and a weight decay of 0.5, and has no gradient in the third step. Environment and conventions are those of goldens.py.

PyTorch has no Lion: its reference is the formula of the paper, in numpy.
"""

import argparse
import pathlib

import numpy as np
import torch
from goldens import check, randn, serialized, to_numpy, write

DEFAULT = pathlib.Path(__file__).resolve().parent.parent / "conformance" / "goldens"
LR, STEPS = 0.01, 10


class Lion:
    """Algorithm 2 of Chen et al., "Symbolic discovery of optimization algorithms", 2023, on the same groups as PyTorch's."""

    def __init__(self, groups, lr, betas=(0.9, 0.99), weight_decay=0.0):
        self.groups = [{"lr": lr, "weight_decay": weight_decay, **group} for group in groups]
        self.betas = betas
        self.averages = {}

    def step(self):
        for group in self.groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                g, w = p.grad.numpy(), p.detach().numpy()
                m = self.averages.get(p, np.zeros_like(w))
                beta1, beta2 = self.betas
                update = np.sign(beta1 * m + (1 - beta1) * g) + group["weight_decay"] * w
                self.averages[p] = beta2 * m + (1 - beta2) * g
                w -= group["lr"] * update  # shares the memory of p


CASES = {
    "amsgrad": lambda groups: torch.optim.Adam(groups, lr=LR, amsgrad=True),
    "amsgrad_decay": lambda groups: torch.optim.Adam(groups, lr=LR, amsgrad=True, betas=(0.5, 0.7), weight_decay=0.1),
    "adamw_amsgrad": lambda groups: torch.optim.AdamW(groups, lr=LR, amsgrad=True, eps=1e-4, weight_decay=0.1),
    "nadam": lambda groups: torch.optim.NAdam(groups, lr=LR),
    "nadam_decay": lambda groups: torch.optim.NAdam(
        groups, lr=LR, betas=(0.8, 0.95), momentum_decay=0.05, weight_decay=0.1
    ),
    "nadam_decoupled": lambda groups: torch.optim.NAdam(
        groups, lr=LR, eps=1e-4, weight_decay=0.1, decoupled_weight_decay=True
    ),
    "radam": lambda groups: torch.optim.RAdam(groups, lr=LR),
    "radam_decay": lambda groups: torch.optim.RAdam(groups, lr=LR, betas=(0.8, 0.9), weight_decay=0.1),
    "radam_decoupled": lambda groups: torch.optim.RAdam(
        groups, lr=LR, eps=1e-4, weight_decay=0.1, decoupled_weight_decay=True
    ),
    "lion": lambda groups: Lion(groups, lr=LR),
    "lion_decay": lambda groups: Lion(groups, lr=LR, betas=(0.6, 0.8), weight_decay=0.1),
}


def inputs():
    start = [randn("optim/start/0", 7), randn("optim/start/1", 3, 2)]
    gradients = [randn("optim/grads/0", STEPS, 7), randn("optim/grads/1", STEPS, 3, 2)]
    gradients[0][3] = 0
    gradients[0][:, 5] *= 1e-3
    gradients[0][:, 6] *= 1e3
    gradients[0][4:, 2] *= 1e-2  # the largest second moment is an early one
    return start, gradients


def run(make, dtype):
    start, gradients = inputs()
    params = [torch.from_numpy(value.copy()).to(dtype).requires_grad_() for value in start]
    optimizer = make([{"params": [params[0]]}, {"params": [params[1]], "lr": LR / 4, "weight_decay": 0.5}])
    after = [[], []]
    for step in range(STEPS):
        for at, p in enumerate(params):
            p.grad = torch.from_numpy(gradients[at][step]).to(dtype)
        if step == 2:
            params[1].grad = None
        optimizer.step()
        for at, p in enumerate(params):
            after[at].append(to_numpy(p).copy())
    return [np.stack(values) for values in after]


def main():
    parser = argparse.ArgumentParser(description="Write the optimizers' goldens.")
    parser.add_argument("output", nargs="?", type=pathlib.Path, default=DEFAULT, help="directory to write to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start, gradients = inputs()
    held = {f"start/{at}": value for at, value in enumerate(start)}
    held.update({f"grads/{at}": value for at, value in enumerate(gradients)})
    for name, make in CASES.items():
        exact, single = run(make, torch.float64), run(make, torch.float32)
        for at in range(2):
            check(f"{name}/{at}", exact[at], single[at])
            held[f"{name}/{at}"] = exact[at]
    metadata = {"made_by": f"PyTorch {torch.__version__.split('+')[0]}"}
    write(arguments.output / "optim.safetensors", serialized(held, metadata))


if __name__ == "__main__":
    main()
