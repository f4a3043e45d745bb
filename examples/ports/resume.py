"""resume.rs in PyTorch."""

import math
import pathlib
import tempfile

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset
from twin import same_weights, show, tensor


class Spirals(Dataset):
    """Points of two spirals, of class 0 and 1."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        t, label = i / 24, i % 2
        radius = t if label == 0 else -t
        return tensor([radius * math.cos(t), radius * math.sin(t)], 2), label


def start(dropout):
    model = nn.Sequential(nn.Linear(2, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Dropout(dropout), nn.Linear(32, 2))
    same_weights(model)
    return model, torch.optim.Adam(model.parameters(), lr=0.02)


def train(model, optimizer, shuffle, epochs):
    """The losses of some epochs. Shuffling and dropout depend on the number of the epoch alone."""
    losses = []
    for epoch in epochs:
        torch.manual_seed(epoch)
        for x, classes in DataLoader(Spirals(96), 16, shuffle=shuffle):
            loss = F.cross_entropy(model(x), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


show("losses in order, without dropout", train(*start(0.0), False, range(2)))
undisturbed = train(*start(0.3), True, range(6))

with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder, "checkpoint.pt")
    model, optimizer = start(0.3)
    train(model, optimizer, True, range(3))
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)

    model, optimizer = start(0.3)
    checkpoint = torch.load(file)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
resumed = train(model, optimizer, True, range(3, 6))
show("as if undisturbed", [resumed == undisturbed[18:]])
