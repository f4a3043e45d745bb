#!/usr/bin/env python3
"""Write tests/ports.json: what PyTorch prints for the programs of examples/ports.

    torch-env/bin/python scripts/goldens_ports.py           # runs all twins
    torch-env/bin/python scripts/goldens_ports.py gru vae   # runs these, and keeps the numbers of the others
    torch-env/bin/python scripts/goldens_ports.py --data    # first makes the files that the programs read

The environment is that of goldens.py. Each twin runs in float64, from the same float32 weights and data, and these numbers
are recorded; and in float32, which must agree with them within a quarter of the tolerance of tests/ports.rs.

--data writes examples/ports/cars.csv, made up by a formula, and examples/ports/resnet18.safetensors, random weights.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples" / "ports"
FILE = ROOT / "tests" / "ports.json"
# As in tests/ports.rs: the largest error as a multiple of 1 + |y|.
TOLERANCE = 1e-5


def cars():
    """64 cars: consumption grows with mass, with power above proportion, and a little with age; with noise."""
    rng = np.random.RandomState(5)
    rows = ["mass,power,age,consumption"]
    for _ in range(64):
        mass, age = rng.randint(850, 2300), rng.randint(0, 20)
        power = max(40, round(mass / 14 + rng.normal(0, 25)))
        consumption = 1.5 + 0.0025 * mass + 0.00012 * power**2 + 0.04 * age + rng.normal(0, 0.3)
        rows.append(f"{mass},{power},{age},{consumption:.2f}")
    (FOLDER / "cars.csv").write_text("\n".join(rows) + "\n")


def lines(twin, *arguments):
    """The printed lines: [name, [numbers]]."""
    text = subprocess.run([sys.executable, twin, *arguments], check=True, capture_output=True, text=True).stdout
    found = (line.split(": ") for line in text.splitlines())
    return [[name, [float(x) for x in numbers.split()]] for name, numbers in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", action="store_true", help="first make the files that the programs read")
    parser.add_argument("programs", nargs="*", help="the names of programs; by default all")
    args = parser.parse_args()
    twins = {twin.stem.replace("_", "-"): twin for twin in sorted(FOLDER.glob("*.py")) if twin.stem != "twin"}
    if unknown := set(args.programs) - set(twins):
        parser.error(f"no such program: {', '.join(sorted(unknown))}; there are {', '.join(twins)}")
    if args.data:
        cars()
        subprocess.run([sys.executable, FOLDER / "resnet18.py", "--write"], check=True)
    recorded = json.loads(FILE.read_text()) if args.programs else {}
    for program in args.programs or twins:
        exact, single = lines(twins[program], "--double"), lines(twins[program])
        error, name = max(
            (abs(x - y) / (1 + abs(y)), name) for (name, xs), (_, ys) in zip(single, exact, strict=True) for x, y in zip(xs, ys)
        )
        print(f"{program:<14} float32 differs from float64 by {error:.1e} in: {name}")
        assert error <= TOLERANCE / 4, f"{program}: too sensitive to rounding"
        recorded[program] = exact
    blocks = (
        f' "{program}": [\n' + ",\n".join(f"  {json.dumps(line)}" for line in exact) + "\n ]"
        for program, exact in sorted(recorded.items())
    )
    FILE.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


main()
