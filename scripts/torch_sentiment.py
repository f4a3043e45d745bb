#!/usr/bin/env python3
"""The sentiment example in PyTorch, to compare accuracy and time with ours.

    python scripts/torch_sentiment.py [--embeddings static tuned random] [--seed 1 2 3] [--epochs 8] [--threads 2]
    python scripts/torch_sentiment.py --steps    # times training steps only, as `cargo bench -- 'train/text'` does

Kim's text CNN (2014) on data/sentiment: convolutions over 3, 4 and 5 words with 100 maps each, maximum over time, ReLU, dropout
0.5, linear. Adam at 1e-3, batches of 50, padded to the longest sentence; the weights of the epoch with the best validation accuracy are
evaluated on the test set. Runs on the CPU. Needs torch, numpy, safetensors, and cargo for minitorch's tokenizer.
"""

import argparse
import copy
import pathlib
import subprocess
import time

import safetensors
import torch
import torch.nn as nn
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTHS, MAPS, BATCH = (3, 4, 5), 100, 50
PADDING, UNKNOWN, FIRST = 0, 1, 2  # the ids of padding, of unknown words and of the first word


def read_sets(folder):
    """Lists of (tokens, label) for each of the three sets."""
    command = ["cargo", "run", "--quiet", "--locked", "-p", "minitorch-nn", "--example", "sentiment_data", "--", "tokens", folder]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    sets = {"train": [], "validation": [], "test": []}
    for line in lines.split("\n")[:-1]:
        name, label, tokens = line.split("\t")
        sets[name].append((tokens.split(" ") if tokens else [], int(label)))
    return sets


def read_vectors(path):
    with safetensors.safe_open(path, "pt") as file:
        vectors, words = file.get_tensor("vectors").float(), file.metadata()["words"].split("\n")
    return dict(zip(words, vectors, strict=True))


def vocabulary(sets, vectors):
    """Ids by word: the words of the training set, and those of the others that have a vector."""
    words = dict.fromkeys(word for tokens, _ in sets["train"] for word in tokens)
    others = (word for name in ("validation", "test") for tokens, _ in sets[name] for word in tokens)
    words.update(dict.fromkeys(word for word in others if word in vectors))
    return {word: FIRST + i for i, word in enumerate(words)}


def table(ids, vectors, dim):
    rows = torch.empty(FIRST + len(ids), dim).uniform_(-0.25, 0.25)
    rows[:FIRST] = 0
    for word, i in ids.items():
        if word in vectors:
            rows[i] = vectors[word]
    return rows


class TextCnn(nn.Module):
    def __init__(self, rows, frozen):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(rows, freeze=frozen, padding_idx=PADDING)
        self.convs = nn.ModuleList(nn.Conv1d(rows.shape[1], MAPS, width) for width in WIDTHS)
        self.linear = nn.Linear(MAPS * len(WIDTHS), 2)

    def forward(self, ids):
        lengths = (ids != PADDING).sum(1)
        x = self.embedding(ids).transpose(1, 2)
        features = []
        for width, conv in zip(WIDTHS, self.convs):
            # Windows without padding, and the first window of a shorter sentence.
            counts = (lengths - width + 1).clamp(min=1)
            outside = torch.arange(ids.shape[1] - width + 1) >= counts[:, None]
            features.append(conv(x).masked_fill(outside[:, None], -torch.inf).amax(2).relu())
        return self.linear(F.dropout(torch.cat(features, 1), 0.5, self.training))


def batches(sentences, order):
    for part in order.split(BATCH):
        part = [sentences[i] for i in part.tolist()]
        longest = max(max(WIDTHS), *(len(ids) for ids, _ in part))
        rows = [ids + [PADDING] * (longest - len(ids)) for ids, _ in part]
        yield torch.tensor(rows), torch.tensor([label for _, label in part])


def accuracy(model, sentences):
    model.eval()
    with torch.no_grad():
        parts = batches(sentences, torch.arange(len(sentences)))
        correct = sum((model(ids).argmax(1) == labels).sum().item() for ids, labels in parts)
    model.train()
    return 100 * correct / len(sentences)


def train(model, sets, epochs):
    """The test accuracy of the best epoch's weights, and the mean time of a step."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    best, weights, seconds, steps = -1.0, None, 0.0, 0
    for epoch in range(epochs):
        total = 0.0
        for ids, labels in batches(sets["train"], torch.randperm(len(sets["train"]))):
            start = time.perf_counter()
            loss = F.cross_entropy(model(ids), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
            seconds, steps = seconds + time.perf_counter() - start, steps + 1
        figure = accuracy(model, sets["validation"])
        print(f"  epoch {epoch + 1}: mean loss {total / len(sets['train']):.4f}, validation {figure:.2f} %", flush=True)
        if figure > best:
            best, weights = figure, copy.deepcopy(model.state_dict())
    model.load_state_dict(weights)
    return accuracy(model, sets["test"]), seconds / steps


def time_steps():
    """Prints the median time of steps of 50 sentences of 40 words; benches/train.rs has the same rows."""
    for kind, words in (("static", 18_000), ("tuned", 18_000), ("tuned", 400_000), ("lazy", 400_000)):
        model = TextCnn(torch.randn(words, 100), kind == "static")
        model.embedding.sparse = kind == "lazy"
        dense = [p for p in model.parameters() if p.requires_grad and not (kind == "lazy" and p is model.embedding.weight)]
        optimizers = [torch.optim.Adam(dense, lr=1e-3)]
        if kind == "lazy":
            optimizers.append(torch.optim.SparseAdam([model.embedding.weight], lr=1e-3))
        ids = (torch.arange(BATCH * 40) * 2_654_435_761 % (words - 2) + 2).reshape(BATCH, 40)
        labels = torch.arange(BATCH) % 2

        def step():
            for optimizer in optimizers:
                optimizer.zero_grad()
            F.cross_entropy(model(ids), labels).backward()
            for optimizer in optimizers:
                optimizer.step()

        times = []
        for _ in range(60):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        times = sorted(times[10:])
        print(f"{kind}, {words} words: {1000 * times[len(times) // 2]:.2f} ms per step", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Train Kim's text CNN with PyTorch.")
    parser.add_argument("--data", default=str(ROOT / "data" / "sentiment"))
    parser.add_argument("--vectors", default=str(ROOT / "data" / "sentiment" / "glove.safetensors"))
    parser.add_argument("--embeddings", choices=["static", "tuned", "random"], nargs="+", default=["tuned"])
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one run for each, with each kind of embeddings")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", action="store_true", help="only time steps on fixed sentences")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.steps:
        return time_steps()

    texts, glove = read_sets(arguments.data), read_vectors(arguments.vectors)
    dim = len(next(iter(glove.values())))
    print(f"PyTorch {torch.__version__.split('+')[0]}, {arguments.threads} threads")
    for kind in arguments.embeddings:
        vectors = {} if kind == "random" else glove
        ids = vocabulary(texts, vectors)
        encode = lambda tokens: [ids.get(token, UNKNOWN) for token in tokens]
        sets = {name: [(encode(tokens), label) for tokens, label in part] for name, part in texts.items()}
        for seed in arguments.seed:
            torch.manual_seed(seed)
            model = TextCnn(table(ids, vectors, dim), kind == "static")
            start = time.perf_counter()
            figure, step = train(model, sets, arguments.epochs)
            print(f"{kind}, seed {seed}: {time.perf_counter() - start:.1f} s, {1000 * step:.2f} ms per step")
            print(f"test accuracy: {figure:.2f} %", flush=True)


if __name__ == "__main__":
    main()
