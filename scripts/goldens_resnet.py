#!/usr/bin/env python3
"""Write conformance/goldens/resnet20*.safetensors with PyTorch: the network of examples/resnet.

    torch-env/bin/python scripts/goldens_resnet.py              # or: goldens_resnet.py OUTPUT_DIR
    torch-env/bin/python scripts/goldens_resnet.py --check FILE # load weights that minitorch wrote, strictly

The environment is that of goldens.py, and so are the conventions: inputs are float32, results are computed in float64 and
rounded once, and PyTorch's own float32 run must agree with them. The weights are those after a few steps on MNIST, so that
running statistics are not what they start from.
"""

import argparse
import copy
import pathlib

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from goldens import check, load_strictly, serialized, to_numpy, write
from torch import nn
from torch_mnist import load

DEFAULT = pathlib.Path(__file__).resolve().parent.parent / "conformance" / "goldens"
SGD = dict(momentum=0.9, nesterov=True, weight_decay=5e-4)
# A network with batch norm that takes long steps on small batches doubles its rounding errors with each of them. With this
# rate float32 and float64 still agree to 1e-6 after ten steps, so that a bound of 1e-3 tests the arithmetic.
RATE = 0.005
GRADIENTS = ["conv1.weight", "bn1.weight", "bn1.bias", "layer2.0.downsample.1.weight", "layer3.2.bn2.bias", "fc.weight"]
BUFFERS = ["bn1.running_mean", "bn1.running_var", "layer3.2.bn2.running_mean", "layer3.2.bn2.running_var"]


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: as it is, or a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.downsample(x)).relu()


class ResNet20(nn.Module):
    """The network of examples/resnet."""

    def __init__(self, channels=1, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1), Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def steps(model, xs, targets, count, lr):
    """The losses of so many steps, over the batches in rotation."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, **SGD)
    losses = []
    for step in range(count):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(xs[step % len(xs)]), targets[step % len(xs)])
        loss.backward()
        optimizer.step()
        losses.append(to_numpy(loss))
    return np.stack(losses)


def results(dtype, state, x, target):
    """Evaluation, one backward pass and ten steps of training, all from `state`."""
    model = ResNet20()
    model.load_state_dict(state)
    model = model.to(dtype)
    x = x.to(dtype)
    with torch.no_grad():
        result = {"logits": to_numpy(copy.deepcopy(model).eval()(x[0]))}
    once = copy.deepcopy(model)
    F.cross_entropy(once(x[0]), target[0]).backward()
    for name, parameter in once.named_parameters():
        if name in GRADIENTS:
            result[f"grad/{name}"] = to_numpy(parameter.grad)
    result["sgd_losses"] = steps(model, x, target, 10, RATE)
    for name in BUFFERS:
        result[f"after/{name}"] = to_numpy(model.state_dict()[name])
    return result


def make(out):
    torch.manual_seed(0)
    images, labels = load("train")
    model = ResNet20().double()
    batches = 60
    n = batches * 32
    steps(model, images[:n].double().split(32), labels[:n].split(32), batches, lr=0.02)
    state = {name: value.float() if value.is_floating_point() else value for name, value in model.state_dict().items()}

    images, labels = load("t10k")
    x, target = images[:16].reshape(2, 8, 1, 28, 28), labels[:16].reshape(2, 8)
    exact = results(torch.float64, state, x, target)
    single = results(torch.float32, state, x, target)
    for name in exact:
        # Twenty layers of rounding errors.
        check(f"resnet20/{name}", exact[name], single[name], rtol=1e-4, atol=1e-5)
    print("losses", exact["sgd_losses"], "float32 is off by", np.abs(single["sgd_losses"] / exact["sgd_losses"] - 1).max())

    metadata = {"made_by": f"PyTorch {torch.__version__.split('+')[0]}"}
    tensors = {"x": to_numpy(x), "target": target.numpy().astype(np.int32), **exact}
    out.mkdir(parents=True, exist_ok=True)
    write(out / "resnet20.safetensors", serialized(tensors, metadata))
    write(out / "resnet20-torch.safetensors", safetensors.torch.save(state))


def check_weights(path):
    first = safetensors.torch.load_file(path).get("conv1.weight")
    model = load_strictly(ResNet20() if first is None else ResNet20(channels=first.shape[1]), path)
    print(f"{path}: PyTorch loads it strictly, {sum(p.numel() for p in model.parameters())} parameters")
    if model.conv1.in_channels == 1:
        images, labels = load("t10k")
        with torch.no_grad():
            right = sum((model.eval()(x).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500)))
        print(f"test accuracy on MNIST in PyTorch: {100 * right / len(labels):.2f} %")


def main():
    parser = argparse.ArgumentParser(description="Write or check ResNet-20 golden files with PyTorch.")
    parser.add_argument("output", nargs="?", type=pathlib.Path, default=DEFAULT, help="directory to write to")
    parser.add_argument("--check", type=pathlib.Path, metavar="WEIGHTS", help="safetensors file written by minitorch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    check_weights(arguments.check) if arguments.check else make(arguments.output)


if __name__ == "__main__":
    main()
