"""vae.rs in PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn
from twin import digits, normal, same_weights, show


class Vae(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(784, 32)
        self.mean = nn.Linear(32, 4)
        self.log_variance = nn.Linear(32, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 784))

    def forward(self, x, eps):
        h = self.encoder(x).relu()
        mean, log_variance = self.mean(h), self.log_variance(h)
        code = mean + (log_variance * 0.5).exp() * eps
        return self.decoder(code), mean, log_variance


digits = digits(128)
model = Vae()
same_weights(model)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
losses, divergences = [], []
for epoch in range(4):
    for number, batch in enumerate(digits.split(32)):
        x = batch.flatten(1)
        n = len(x)
        logits, mean, log_variance = model(x, normal(10 * epoch + number, n, 4))
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / n
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum() / n
        loss = reconstruction + divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        divergences.append(divergence.item())
show("losses", [losses[0], losses[1], losses[8], losses[15]])
show("divergences", [divergences[0], divergences[8], divergences[15]])

with torch.no_grad():
    samples = model.decoder(normal(99, 16, 4)).sigmoid()
show("samples", [samples.mean(), samples.std(0).mean()])
