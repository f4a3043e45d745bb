"""resnet18.rs in PyTorch.

    python examples/ports/resnet18.py --write    # resnet18.safetensors: random weights, and statistics of a few batches
"""

import sys

import safetensors.torch
import torch
from torch import nn
from twin import HERE, noise, show

FILE = HERE / "resnet18.safetensors"


def conv(inputs, outputs, kernel, stride):
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        if inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.downsample(x)).relu()


class ResNet18(nn.Module):
    """By torchvision's names. Its width is 64."""

    def __init__(self, width, classes):
        super().__init__()
        self.conv1 = conv(3, width, 7, 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(Block(width, width, 1), Block(width, width, 1))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 2 * width, 1))
        self.layer3 = nn.Sequential(Block(2 * width, 4 * width, 2), Block(4 * width, 4 * width, 1))
        self.layer4 = nn.Sequential(Block(4 * width, 8 * width, 2), Block(8 * width, 8 * width, 1))
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


torch.manual_seed(0)
model = ResNet18(4, 10)
if "--write" in sys.argv:
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(8, 3, 64, 64))
    safetensors.torch.save_file(model.state_dict(), FILE)
    sys.exit()
model.load_state_dict(safetensors.torch.load_file(FILE))
model.eval()
with torch.no_grad():
    logits = model(noise(18, 2, 3, 64, 64))
show("logits", logits)
show("the three best classes", logits.topk(3).indices)
