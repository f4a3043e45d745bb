"""regression.rs in PyTorch."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from twin import HERE, same_weights, show, tensor


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(3, 16)
        self.out = nn.Linear(16, 1)

    def forward(self, x):
        return self.out(self.hidden(x).tanh())


numbers = np.loadtxt(HERE / "cars.csv", delimiter=",", skiprows=1)
table = tensor(numbers, numbers.shape)
mean, std = table.mean(0), table.std(0)
normalized = (table - mean) / std
train, test = normalized[:48], normalized[48:]

model = Mlp()
same_weights(model)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
losses = []
for _ in range(40):
    total = 0
    for batch in train.split(16):
        loss = F.mse_loss(model(batch[:, :3]), batch[:, 3:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    losses.append(total / 3)
show("losses", [losses[0], losses[1], losses[39]])

with torch.no_grad():
    error = model(test[:, :3]) * std[3] + mean[3] - table[48:, 3:]
    show("root mean square error of the test", [error.square().mean().sqrt()])
    car = torch.tensor([[1250.0, 85.0, 4.0]])
    show("litres per 100 km of a car", model((car - mean[:3]) / std[:3]) * std[3] + mean[3])
