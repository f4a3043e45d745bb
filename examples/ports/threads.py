"""threads.rs in PyTorch. A thread of its own has its own `no_grad`, but gradients accumulate in the shared parameters, so
they are computed in one thread."""

import concurrent.futures

import torch
import torch.nn.functional as F
from torch import nn
from twin import noise, same_weights, show


def batch(seed):
    """The class of a point is its octant."""
    x = noise(seed, 32, 3)
    return x, ((x > 0) * torch.tensor([1, 2, 4])).sum(1)


model = nn.Sequential(nn.Linear(3, 32), nn.BatchNorm1d(32), nn.SiLU(), nn.Linear(32, 8))
same_weights(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
losses = []
for step in range(40):
    x, label = batch(step)
    loss = F.cross_entropy(model(x), label)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
show("losses", [losses[0], losses[1], losses[20], losses[39]])

model.eval()
x, label = batch(99)


def serve(request):
    with torch.no_grad():
        return model(request)


with concurrent.futures.ThreadPoolExecutor(4) as workers:
    answers = torch.cat(list(workers.map(serve, x.split(8))))
with torch.no_grad():
    show("largest difference from one thread", [(answers - model(x)).abs().max()])
show("accuracy", [(answers.argmax(1) == label).to(answers.dtype).mean()])

optimizer.zero_grad()
for part, labels in zip(x.split(8), label.split(8)):
    (F.cross_entropy(model(part), labels) / 4).backward()
show("norm of the gradients", [torch.stack([p.grad.square().sum() for p in model.parameters()]).sum().sqrt()])
show("gradient of the last bias", model[3].bias.grad * 100)
