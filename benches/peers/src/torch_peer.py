"""PyTorch as a peer: the protocol of serve.rs, the operands and digests of data.rs."""
import gzip
import json
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(int(os.environ["PEERS_THREADS"]))


def fill(shape, seed):
    n = int(np.prod(shape))
    with np.errstate(over="ignore"):
        x = np.arange(n, dtype=np.uint32) * np.uint32(2654435761)
        x += np.uint32((seed * 0x9E3779B9) & 0xFFFFFFFF)
        x ^= x >> np.uint32(15)
        x *= np.uint32(0x85EBCA6B)
        x ^= x >> np.uint32(13)
        x *= np.uint32(0xC2B2AE35)
        x ^= x >> np.uint32(16)
    return torch.from_numpy((x >> np.uint32(8)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)).reshape(tuple(shape))


def set_parameters(model):
    with torch.no_grad():
        for i, (name, p) in enumerate(model.named_parameters()):
            if p.dim() < 2:
                p.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                p.copy_(fill(p.shape, 100 + i) * (1.0 / np.sqrt(np.float32(p.numel() // p.shape[0]))))


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()

        def stage(inputs, outputs, stride):
            return nn.ModuleList([Block(inputs, outputs, stride), Block(outputs, outputs, 1), Block(outputs, outputs, 1)])

        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for layer in (self.layer1, self.layer2, self.layer3):
            for block in layer:
                x = block(x)
        return self.fc(x.mean((2, 3)))


class Kim(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(128, 100, words) for words in (3, 4, 5)])
        self.fc = nn.Linear(300, 2)

    def forward(self, x):
        return self.fc(torch.cat([F.relu(conv(x)).amax(2) for conv in self.convs], 1))


def without_gradients(f):
    def run():
        with torch.inference_mode():
            return f()

    return run, lambda: f()


def training(model, optimizer, x, loss_of):
    set_parameters(model)
    optimizer = optimizer(model.parameters())

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(x))
        loss.backward()
        optimizer.step()
        return loss

    losses = [step().detach() for _ in range(3)]
    return step, lambda: [torch.stack(losses)]


def mnist(split):
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../data/mnist")

    def read(name, header):
        with gzip.open(os.path.join(folder, f"{split}-{name}-ubyte.gz")) as file:
            return torch.from_numpy(np.frombuffer(file.read(), np.uint8, offset=header).copy())

    images = read("images-idx3", 16).reshape(-1, 1, 28, 28).float()
    return (images / 255 - 0.1307) / 0.3081, read("labels-idx1", 8).long()


def epoch():
    (images, labels), (test, test_labels) = mnist("train"), mnist("t10k")
    model = LeNet()
    set_parameters(model)
    optimizer = adam(model.parameters())
    for batch in torch.randperm(len(labels)).split(64):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
    with torch.inference_mode():
        correct = sum(int((model(x).argmax(1) == y).sum()) for x, y in zip(test.split(1000), test_labels.split(1000)))
    return [torch.tensor([1.0 if correct >= 9500 else float(correct)])]


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-3)


def prepare(w):
    op = w["op"]
    if op == "matmul":
        batch, m, k, n = w["batch"], w["m"], w["k"], w["n"]
        lead = [batch] if batch else []
        a = fill(lead + [k, m], 1).transpose(-2, -1) if w["transposed"] else fill(lead + [m, k], 1)
        b = fill(lead + [k, n], 2)
        return without_gradients(lambda: [a @ b])
    if op == "mat_vec":
        a, b = fill([w["m"], w["k"]], 1), fill([w["k"]], 2)
        return without_gradients(lambda: [a @ b])
    if op in ("add", "chain"):
        a, b = fill([w["n"]], 1), fill([w["n"]], 2)
        if op == "add":
            return without_gradients(lambda: [a + b])
        return without_gradients(lambda: [(a * b + 0.5).tanh().relu()])
    if op == "unary":
        x, f = fill([w["n"]], 1), getattr(torch, w["name"])
        return without_gradients(lambda: [f(x)])
    if op == "bias_add":
        a, b = fill([w["rows"], w["columns"]], 1), fill([w["columns"]], 2)
        return without_gradients(lambda: [a + b])
    if op in ("sum", "max_index", "softmax", "layer_norm", "transpose"):
        x = fill([w["rows"], w["columns"]], 1)
        if op == "sum":
            return without_gradients(lambda: [x.sum() if w["dim"] < 0 else x.sum(w["dim"])])
        if op == "max_index":
            return without_gradients(lambda: list(x.max(1)))
        if op == "softmax":
            return without_gradients(lambda: [F.log_softmax(x, 1) if w["log"] else F.softmax(x, 1)])
        if op == "transpose":
            return without_gradients(lambda: [x.t().contiguous()])
        weight, bias = fill([w["columns"]], 2), fill([w["columns"]], 3)
        return without_gradients(lambda: [F.layer_norm(x, [w["columns"]], weight, bias, 1e-5)])
    if op == "batch_norm":
        c = w["shape"][1]
        layer = nn.BatchNorm2d(c)
        with torch.no_grad():
            layer.weight.copy_(fill([c], 2))
            layer.bias.copy_(fill([c], 3))
        x, g = fill(w["shape"], 1).requires_grad_(), fill(w["shape"], 4)

        def norm():
            y = layer(x)
            return [y, *torch.autograd.grad(y, (x, layer.weight, layer.bias), g)]

        return norm, norm
    if op in ("conv2d", "conv1d"):
        x, weight, bias = fill(w["x"], 1), fill(w["w"], 2), fill([w["w"][0]], 3)
        if op == "conv2d":
            def conv():
                return F.conv2d(x, weight, bias, w["stride"], w["padding"])
        else:
            def conv():
                return F.conv1d(x, weight, bias)
        if not w["backward"]:
            return without_gradients(lambda: [conv()])
        g = fill(conv().shape, 4)
        for leaf in (x, weight, bias):
            leaf.requires_grad_()

        def both():
            y = conv()
            return [y, *torch.autograd.grad(y, (x, weight, bias), g)]

        return both, both
    if op == "max_pool":
        x = fill(w["x"], 1)
        if not w["backward"]:
            return without_gradients(lambda: [F.max_pool2d(x, 2)])
        g = fill(F.max_pool2d(x, 2).shape, 4)
        x.requires_grad_()

        def pool():
            y = F.max_pool2d(x, 2)
            return [y, *torch.autograd.grad(y, (x,), g)]

        return pool, pool
    if op == "infer":
        model = LeNet().eval()
        set_parameters(model)
        x = fill([w["batch"], 1, 28, 28], 1)
        return without_gradients(lambda: [model(x)])
    if op == "epoch":
        return epoch, epoch
    batch, net = w["batch"], w["net"]
    if net == "xor":
        model = nn.Sequential(nn.Linear(2, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 1), nn.Sigmoid())
        x = fill([batch, 2], 1)
        y = (x[:, :1] * x[:, 1:] < 0).float()
        not_y = 1 - y
        return training(model, lambda p: torch.optim.SGD(p, lr=0.5), x,
                        lambda out: -(out * y + (1 - out) * not_y).log().mean())
    classes = 2 if net == "kim" else 10
    target = torch.arange(batch) % classes
    def loss(logits):
        return F.cross_entropy(logits, target)
    if net == "lenet":
        return training(LeNet(), adam, fill([batch, 1, 28, 28], 1), loss)
    if net == "mlp":
        model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
        return training(model, adam, fill([batch, 784], 1), loss)
    if net == "kim":
        return training(Kim(), adam, fill([batch, 128, 40], 1), loss)
    return training(ResNet20(), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), fill([batch, 3, 32, 32], 1), loss)


def digest(tensors):
    values = torch.cat([t.detach().reshape(-1).float() for t in tensors]).numpy()
    step = max(1, -(-len(values) // 1000))
    wide = values.astype(np.float64)
    return [float(len(values)), float(wide.sum()), float((wide * wide).sum()), *map(float, values[::step])]


def status(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def main():
    run = result = None
    resident = 0
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        if command == "prepare":
            run = result = None
            with open("/proc/self/clear_refs", "w") as refs:
                refs.write("5")
            resident = status("VmRSS")
            run, result = prepare(json.loads(rest))
            answer = "ready"
        elif command == "result":
            answer = json.dumps(digest(result()))
        elif command in ("time", "warm"):
            n = int(rest)
            for _ in range(n if command == "warm" else 0):
                run()
            begin = time.perf_counter_ns()
            for _ in range(n):
                run()
            answer = str(time.perf_counter_ns() - begin)
        elif command == "memory":
            answer = str(max(0, status("VmHWM") - resident))
        elif command == "drop":
            run = result = None
            answer = "dropped"
        else:
            raise SystemExit(f"unknown command {line!r}")
        print(answer, flush=True)


main()
