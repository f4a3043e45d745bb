#!/usr/bin/env python3
"""Write the checkpoints of PyTorch that nn's tests read.

    python scripts/goldens_state.py

Writes nn/testdata/torch/. `state.pt` has a tensor of every element type, strided, offset and tied ones, and `state.safetensors` the
same values, contiguous, by way of another library; `protocol4.pt` the same with another pickle protocol. `checkpoint.pt` is what a
training loop saves, after a parameter group was added. `tied.safetensors` is what `save_model` writes for tied weights, `resumed.safetensors` after another step. The others hold
what is not read. The same versions of PyTorch and safetensors give the same bytes. Needs torch and safetensors.
"""

import pathlib

import safetensors.torch
import torch

OUT = pathlib.Path(__file__).resolve().parent.parent / "nn" / "testdata" / "torch"
TYPES = ["float16", "bfloat16", "float32", "float64", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]


def numbers(dtype, *shape):
    """-3, -2, .. for signed types, 0, 1, .. for unsigned ones."""
    count = int(torch.Size(shape).numel())
    k = torch.arange(count, dtype=torch.int64)
    return (k if str(dtype).startswith("torch.uint") else k - 3).to(dtype).reshape(shape)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(3, 2)
        self.norm = torch.nn.BatchNorm1d(2)
        self.head = torch.nn.Linear(2, 3)
        self.head.weight = self.embedding.weight


def state():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors = {f"types.{name}": numbers(getattr(torch, name), 2, 4) for name in TYPES}
    tensors["types.bool"] = torch.tensor([True, False, True])
    tensors["scalar"] = torch.tensor(7)
    tensors["empty"] = torch.zeros(0, 3)
    tensors["transposed"] = base.t()
    tensors["strided"] = base[1:, ::2]
    tensors["offset"] = base[2]
    tensors["permuted"] = torch.arange(24, dtype=torch.int16).reshape(2, 3, 4).permute(2, 0, 1)
    tensors["expanded"] = torch.tensor([[1.5], [2.5]]).expand(2, 3)
    tensors["parameter"] = torch.nn.Parameter(torch.tensor([0.5, -0.5]))
    tensors["tied.a"] = torch.ones(2, 2)
    tensors["tied.b"] = tensors["tied.a"]
    tensors["tied.c"] = tensors["tied.a"].view(2, 2)
    return tensors


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    tensors = state()
    torch.save(tensors, OUT / "state.pt")
    torch.save(tensors, OUT / "protocol4.pt", pickle_protocol=4)
    apart = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    safetensors.torch.save_file(apart, OUT / "state.safetensors")

    torch.manual_seed(0)
    net = Net()
    head = [net.head.bias]
    optimizer = torch.optim.Adam([net.embedding.weight, net.norm.weight, net.norm.bias], lr=0.1, betas=(0.5, 0.75))

    def train():
        optimizer.zero_grad()
        net.head(net.norm(net.embedding(torch.tensor([0, 2, 1])))).square().sum().backward()
        optimizer.step()

    train()
    optimizer.add_param_group({"params": head, "lr": 0.01})
    train()
    torch.save(
        {
            "epoch": 5,
            "loss": 0.25,
            "run": "b\n7",
            "done": False,
            "note": None,
            "seed": 2**70,
            "dtype": torch.float32,
            "device": torch.device("cpu"),
            "shape": torch.Size([2, 3]),
            "history": [1.0, 0.5],
            "state_dict": net.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
        OUT / "checkpoint.pt",
    )
    safetensors.torch.save_model(net, OUT / "tied.safetensors")
    torch.save(net, OUT / "model.pt")
    train()
    safetensors.torch.save_model(net, OUT / "resumed.safetensors")
    torch.save(torch.tensor([1.0, 2.0]), OUT / "tensor.pt")
    torch.save([torch.tensor(1), {"b": torch.tensor(2)}], OUT / "list.pt")
    others = {"good": torch.ones(2), "eighth": torch.ones(2).to(torch.float8_e4m3fn), "complex": torch.ones(2) + 1j}
    torch.save(others, OUT / "types.pt")
    safetensors.torch.save_file({name: others[name] for name in ["good", "eighth"]}, OUT / "types.safetensors")

    torch.save({"when": {1, 2}}, OUT / "set.pt")
    torch.save({"weight": torch.ones(2)}, OUT / "legacy.pt", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
