"""attention.rs in PyTorch, with its own attention."""

import torch
import torch.nn.functional as F
from torch import nn
from twin import same_weights, show


class Transformer(nn.Module):
    def __init__(self, vocabulary, length, dim, heads):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim)
        self.positions = nn.Parameter(torch.zeros(length, dim))
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.projection = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.heads = heads

    def attention(self, x):
        n, t, dim = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.projection(y.transpose(1, 2).reshape(n, t, dim))

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return F.linear(x, self.tokens.weight)


model = Transformer(11, 12, 32, 4)
same_weights(model)
start = torch.arange(33)[:, None]
step = start % 3 + 1
sequences = (start + step * torch.arange(13)) % 11
x, following = sequences[:, :12], sequences[:, 1:]
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.01)
losses = []
for _ in range(40):
    loss = F.cross_entropy(model(x).flatten(0, 1), following.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
show("losses", [losses[0], losses[1], losses[10], losses[39]])
with torch.no_grad():
    show("accuracy", [(model(x).argmax(-1) == following).to(torch.get_default_dtype()).mean()])
    tokens = torch.tensor([[4, 7, 10]])
    for _ in range(6):
        tokens = torch.cat([tokens, model(tokens)[:, -1].argmax(-1, keepdim=True)], 1)
show("continuation of 4 7 10", tokens)
