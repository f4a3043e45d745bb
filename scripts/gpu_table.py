#!/usr/bin/env python3
"""A table of the results of examples/gpu_bench and scripts/torch_gpu.py.

    python scripts/gpu_table.py ours.json torch.json [ours-again.json] [--write docs/gpu.md --date 2026-01-31 --driver 580.1]

Times are per call. With two runs of ours the table shows the mean, and their largest difference. Ratios are PyTorch's time over that
of the CUDA backend, so above 1 ours is faster. The share is the floor over our time; the floor is the larger of the bytes that must move at
the measured copy rate and of the arithmetic at the measured rate of fused multiply-adds. --write replaces the text between
`<!-- gpu: begin -->` and `<!-- gpu: end -->`.
"""

import argparse
import json
import math
import pathlib

MODES = ("strict", "tf32", "graph", "compiled")
L2 = 50e6


def time(us):
    if us is None:
        return ""
    return f"{us:.2f} us" if us < 10 else f"{us:.1f} us" if us < 100 else f"{us:.0f} us" if us < 1e4 else f"{us / 1e3:.1f} ms"


def runs(paths):
    """By backend and row: the row, with the mean time of the runs and their largest relative difference."""
    merged, devices = {}, {}
    for path in paths:
        for backend in json.loads(path.read_text())["backends"]:
            devices[backend["backend"]] = backend["device"]
            for row in backend["rows"]:
                merged.setdefault(backend["backend"], {}).setdefault(row["name"], []).append(row)
    for rows in merged.values():
        for name, found in rows.items():
            times = [row["us"] for row in found]
            mean = sum(times) / len(times)
            rows[name] = {**found[0], "us": mean, "moved": (max(times) - min(times)) / mean}
    return merged, devices


def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def table(ours, devices, torch, note):
    cuda, wgpu = ours.get("cuda", {}), ours.get("wgpu", {})
    rows = torch["rows"]
    copy, flops = torch.get("copy"), torch.get("flops")
    modes = [mode for mode in MODES if any(mode in row for row in rows.values())]
    moved = max((row["moved"] for row in cuda.values()), default=0)
    text = [f"{devices.get('cuda') or devices.get('wgpu')}; {note}{torch['framework']}, CUDA {torch.get('cuda')}."]
    if copy:
        arithmetic = f", {flops / 1e12:.1f} TFLOP/s of f32 multiply-adds" if flops else ""
        text[0] += f" The GPU copies {copy / 1e12:.2f} TB/s (read plus written){arithmetic}."
    if moved:
        text[0] += f" Runs of ours on CUDA differ by at most {100 * moved:.0f} %."
    text += ["", f"| | CUDA | launches | share of the floor | wgpu | {' | '.join('PyTorch ' + mode for mode in modes)} |"]
    text += ["|---|" + "---|" * (4 + len(modes))]
    ratios = {mode: [] for mode in modes}
    beside = []
    for name in list(cuda) or list(wgpu):
        row, other = cuda.get(name), wgpu.get(name)
        us = row and row["us"]
        share = ""
        if row and copy:
            # Data that fit into L2 need not move.
            memory = row["bytes"] / copy if row["bytes"] > L2 else 0
            floor = max(memory, row["flops"] / flops if flops else 0)
            share = f"{100 * 1e6 * floor / us:.0f} %" if floor else ""
        cells = [time(us), str(row["launches"]) if row and row["launches"] is not None else "", share]
        cells.append(time(other["us"]) + (f" ({us / other['us']:.2f}x)" if us else "") if other else "")
        if other and us:
            beside.append(us / other["us"])
        for mode in modes:
            theirs = rows.get(name, {}).get(mode)
            ratio = f" ({theirs / us:.2f}x)" if theirs and us else ""
            cells.append(time(theirs) + ratio)
            if ratio:
                ratios[mode].append(theirs / us)
        text.append(f"| {name} | {' | '.join(cells)} |")
    means = [mean(beside), *(mean(ratios[mode]) for mode in modes)]
    text.append("| **geometric mean** | | | | " + " | ".join(f"**{m:.2f}x**" if m else "" for m in means) + " |")
    return "\n".join(text) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ours", type=pathlib.Path)
    parser.add_argument("torch", type=pathlib.Path)
    parser.add_argument("again", type=pathlib.Path, nargs="*")
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--date", default="")
    parser.add_argument("--driver", default="")
    args = parser.parse_args()
    again = [path for path in args.again if path.exists()]
    torch = json.loads(args.torch.read_text()) if args.torch.exists() else {"framework": "no PyTorch", "rows": {}}
    note = ", ".join(part for part in (args.driver and f"driver {args.driver}", args.date) if part)
    text = table(*runs([args.ours, *again]), torch, note and note + "; ")
    if args.write is None:
        print(text)
        return
    file = args.write.read_text()
    begin, end = "<!-- gpu: begin -->\n", "<!-- gpu: end -->"
    if file.count(begin) != 1 or file.count(end) != 1:
        raise SystemExit(f"{args.write} needs one line {begin.strip()} and one line {end}")
    head, rest = file.split(begin)
    temporary = args.write.with_suffix(".new")
    temporary.write_text(head + begin + "\n" + text + "\n" + end + rest.split(end)[1])
    temporary.replace(args.write)


if __name__ == "__main__":
    main()
