"""own_operation.rs in PyTorch."""

import torch
from torch import nn
from twin import noise, same_weights, show


class Swish(torch.autograd.Function):
    """`x sigmoid(beta x)` with a trained beta."""

    @staticmethod
    def forward(ctx, x, beta):
        ctx.save_for_backward(x, beta)
        return x * (x * beta).sigmoid()

    @staticmethod
    def backward(ctx, grad):
        x, beta = ctx.saved_tensors
        sigmoid = (x * beta).sigmoid()
        slope = x * sigmoid * (1 - sigmoid)  # of y with respect to beta x
        return grad * (sigmoid + slope * beta), (grad * x * slope).sum_to_size(beta.shape)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(2, 16)
        self.beta = nn.Parameter(torch.ones(()))
        self.out = nn.Linear(16, 1)
        same_weights(self)

    def forward(self, x):
        return self.out(Swish.apply(self.hidden(x), self.beta))


def train():
    """Train a critic to tell two clouds of points apart with gradients of norm 1 between them; the losses."""
    critic = Critic()
    optimizer = torch.optim.RMSprop(critic.parameters(), lr=5e-3)
    losses = []
    for step in range(20):
        real, fake = noise(2 * step, 32, 2) + 1, noise(2 * step + 1, 32, 2)
        between = ((real + fake) * 0.5).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalty = (slope.norm(dim=1) - 1).square().mean()
        loss = critic(fake).mean() - critic(real).mean() + penalty * 10
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


x = torch.linspace(-3, 3, 7).requires_grad_()
y = Swish.apply(x, torch.tensor(1.5))
(slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
(curvature,) = torch.autograd.grad(slope.sum(), x)
show("swish", y)
show("its derivative", slope)
show("its second derivative", curvature)
losses = train()
show("losses", [losses[0], losses[1], losses[10], losses[19]])
show("on the CPU", [losses[0], losses[1], losses[10], losses[19]])
