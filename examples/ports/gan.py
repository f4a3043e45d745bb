"""gan.rs in PyTorch."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from twin import noise, normal, same_weights, show


def network(inputs, outputs):
    layers = nn.Sequential(
        nn.Linear(inputs, 24), nn.LeakyReLU(0.2), nn.Linear(24, 24), nn.LeakyReLU(0.2), nn.Linear(24, outputs)
    )
    same_weights(layers)
    return layers


def circle(seed, n):
    angles = noise(seed, n) * math.pi
    return torch.stack([angles.cos(), angles.sin()], 1) * 2


generator, discriminator = network(4, 2), network(2, 1)
generators = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
discriminators = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
real, fake = torch.ones(32, 1), torch.zeros(32, 1)
generator_losses, discriminator_losses = [], []
for step in range(60):
    points = generator(normal(step, 32, 4))
    loss = F.binary_cross_entropy_with_logits(discriminator(circle(step, 32)), real)
    loss = loss + F.binary_cross_entropy_with_logits(discriminator(points.detach()), fake)
    discriminators.zero_grad()
    loss.backward()
    discriminators.step()
    discriminator_losses.append(loss.item())

    loss = F.binary_cross_entropy_with_logits(discriminator(points), real)
    generators.zero_grad()
    loss.backward()
    generators.step()
    generator_losses.append(loss.item())
show("losses of the discriminator", [discriminator_losses[0], discriminator_losses[1], discriminator_losses[59]])
show("losses of the generator", [generator_losses[0], generator_losses[1], generator_losses[59]])
with torch.no_grad():
    points = generator(normal(99, 64, 4))
show("mean of the points", points.mean(0))
show("their mean radius", [points.norm(dim=1).mean()])
