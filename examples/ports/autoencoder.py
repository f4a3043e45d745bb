"""autoencoder.rs in PyTorch."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from twin import digits, same_weights, show


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ReLU()
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 4, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 1, 2, stride=2), nn.Sigmoid()
        )


digits = digits(64)
model = Autoencoder()
same_weights(model)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
losses = []
for _ in range(5):
    for images in digits.split(16):
        loss = F.mse_loss(model.decoder(model.encoder(images)), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
show("losses", [losses[0], losses[1], losses[10], losses[19]])

with torch.no_grad():
    images = digits[:8]
    codes = model.encoder(images)
    show("code", [*codes.shape, codes.mean(), codes.max()])
    error = F.mse_loss(model.decoder(codes), images).item()
show("peak signal-to-noise ratio in dB", [-10 * math.log10(error)])
