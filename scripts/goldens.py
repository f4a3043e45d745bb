#!/usr/bin/env python3
"""Write the golden files of conformance/goldens with PyTorch.

    python -m venv torch-env && torch-env/bin/pip install torch numpy safetensors
    torch-env/bin/python scripts/goldens.py                # or: goldens.py OUTPUT_DIR

Every case is one line of PyTorch, kept as text: it is evaluated here and printed in the README's table, so the table cannot
drift from the numbers. Inputs are float32. The line runs twice: in float64, rounded once to float32, which is what the files
hold (the exact answer, free of one machine's rounding), and in float32, which must agree with it.

Inputs and cotangents come from numpy's RandomState, whose streams are frozen, seeded by the name of the case: a new case
changes no other.
"""

import argparse
import os
import pathlib
import sys
import zlib

import goldens_arrange
import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
import torch.nn.functional as F

CASES = []  # (name, PyTorch call), in order, for the README
OPS = {}  # "<case>/<role>" -> numpy array
WORST = (0.0, "")  # largest error of PyTorch's own float32 run, and where

NO_GRADIENT = {"target", "cot", "mean", "var", "cw"}


# --- Cases ---------------------------------------------------------------------------------------------------------------


def rng(name):
    return np.random.RandomState(zlib.crc32(name.encode()))


def randn(name, *shape):
    return rng(name).standard_normal(shape).astype(np.float32)


def uniform(name, low, high, *shape):
    return rng(name).uniform(low, high, shape).astype(np.float32)


def integers(name, bound, *shape):
    """Indices in 0..bound."""
    return rng(name).randint(0, bound, shape).astype(np.int32)


def evaluate(call, inputs, cot, dtype):
    """Run `call`; return its output and the gradients of sum(y * cot) by input name."""
    leaves = {}
    for role, value in inputs.items():
        if value.dtype == np.int32:
            leaves[role] = torch.from_numpy(value).long()
        else:
            leaves[role] = torch.from_numpy(value).to(dtype).requires_grad_(role not in NO_GRADIENT)
    y = eval(call, {"torch": torch, "F": F}, leaves)  # noqa: S307 - the text is ours
    outputs = y if isinstance(y, tuple) else (y,)
    gradients = {}
    if outputs[0].is_floating_point():
        if cot is None:
            outputs[0].backward()
        else:
            (outputs[0] * torch.from_numpy(cot).to(dtype)).sum().backward()
        gradients = {f"g{role}": leaf.grad for role, leaf in leaves.items() if leaf.requires_grad}
    return outputs, gradients


def to_numpy(tensor):
    tensor = tensor.detach()
    return tensor.to(torch.float32 if tensor.is_floating_point() else torch.int32).contiguous().numpy()


def check(where, exact, single, rtol=2e-5, atol=2e-6):
    """The float32 run must agree with the rounded float64 run, and both must be finite."""
    global WORST
    assert np.isfinite(exact).all(), f"{where}: not finite"
    if exact.dtype == np.int32:
        assert (exact == single).all(), f"{where}: indices differ between float32 and float64"
        return
    error = np.abs(exact.astype(np.float64) - single) / (1.0 + np.abs(exact.astype(np.float64)))
    assert np.allclose(single, exact, rtol=rtol, atol=atol), f"{where}: float32 is off by {error.max():.2e}"
    if error.size and error.max() > WORST[0]:
        WORST = (float(error.max()), where)


def case(name, call, loss=False, **inputs):
    """Record one case. With `loss` the output is a scalar and the cotangent is 1, not stored."""
    assert name not in dict(CASES), f"two cases are called {name}"
    CASES.append((name, call))
    with torch.no_grad():
        tensors = {r: torch.from_numpy(v).long() if v.dtype == np.int32 else torch.from_numpy(v) for r, v in inputs.items()}
        y = eval(call, {"torch": torch, "F": F}, tensors)
        y = y[0] if isinstance(y, tuple) else y
    cot = None
    if y.is_floating_point() and not loss:
        cot = np.asarray(randn(f"{name}/cot", *y.shape), dtype=np.float32)

    exact, exact_gradients = evaluate(call, inputs, cot, torch.float64)
    single, single_gradients = evaluate(call, inputs, cot, torch.float32)
    stored = dict(inputs)
    if cot is not None:
        stored["cot"] = cot
    for role, a, b in zip(("y", "indices"), exact, single):
        stored[role] = to_numpy(a)
        check(f"{name}/{role}", stored[role], to_numpy(b))
    for role, a in exact_gradients.items():
        stored[role] = to_numpy(a)
        check(f"{name}/{role}", stored[role], to_numpy(single_gradients[role]))
    for role, value in stored.items():
        OPS[f"{name}/{role}"] = value
    return stored


# --- Elementwise --------------------------------------------------------------------------------------------------------


def with_specials(name, specials):
    """[5, 17] values: the given ones, then random ones."""
    x = 3 * randn(name, 5, 17)
    x.flat[: len(specials)] = specials
    return x


def unary_cases():
    moderate = [0, 1, -1, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 1e-4, -1e-4, 1e-7, -1e-7, 1e-10, 9, -9, 20.5, -20.5, 80, -80]
    wide = moderate + [1000, -1000]
    # A float32 has fractions of 1/2 up to 2^23.
    rounding = wide + [3.5, -3.5, 0.25, -0.75, 4194303.5, -4194302.5, 16777216, 0.49999997, -0.49999997]

    def one(name, call, specials):
        case(name, call, x=with_specials(name, specials))

    def positive(name, call):
        x = np.exp(uniform(name, -6, 6, 5, 17)).astype(np.float32)
        x.flat[:8] = [1, 4, 0.25, 1e-4, 1e4, 1e-10, 1.0000001, 0.9999999]
        case(name, call, x=x)

    one("neg", "-x", wide)
    one("abs", "x.abs()", wide)
    one("exp", "x.exp()", moderate)
    positive("log", "x.log()")
    positive("sqrt", "x.sqrt()")
    positive("rsqrt", "x.rsqrt()")
    one("reciprocal", "x.reciprocal()", [1, -1, 0.5, -0.5, 1e-4, -1e-4, 3, 1000, -1000])
    one("sin", "x.sin()", wide)
    one("cos", "x.cos()", wide)
    one("tanh", "x.tanh()", wide)
    one("sigmoid", "x.sigmoid()", wide)
    one("relu", "x.relu()", wide)
    one("gelu_erf", "F.gelu(x)", wide)
    one("gelu_tanh", "F.gelu(x, approximate='tanh')", wide)
    one("silu", "F.silu(x)", wide)
    one("softplus", "F.softplus(x)", wide)
    one("leaky_relu", "F.leaky_relu(x, 0.01)", wide[1:])  # no zero: it is a kink
    one("elu", "F.elu(x, 1.0)", wide)
    one("square", "x.square()", wide)
    one("pow3", "x.pow(3.0)", wide)
    one("erf", "x.erf()", wide)
    case("log1p", "x.log1p()", x=np.abs(with_specials("log1p", [0, 1, 1e-4, 1e-7, 1e-10, 9, 1000])))
    near = uniform("log1p_negative", -0.95, 0, 17)
    near[:3] = [-1e-4, -1e-7, -0.5]
    case("log1p_negative", "x.log1p()", x=near)
    one("expm1", "x.expm1()", moderate)
    one("floor", "x.floor()", rounding)
    one("ceil", "x.ceil()", rounding)
    one("round", "x.round()", rounding)
    one("sign", "x.sign()", wide)
    positive("log2", "x.log2()")
    one("tan", "x.tan()", [0, 1, -1, 0.5, -0.5, 1e-4, -1e-7, 1.5])
    one("atan", "x.atan()", wide)
    one("sinh", "x.sinh()", moderate[:16])
    one("cosh", "x.cosh()", moderate[:16])
    one("elu_half", "F.elu(x, 0.5)", wide[1:])
    one("hardswish", "F.hardswish(x)", wide)
    one("trunc", "x.trunc()", rounding)
    one("clamp", "x.clamp(-1.0, 1.5)", wide)
    x = with_specials("remainder_scalar", [0.25, 1.75, -0.25, 4.75, -4.75])
    case("remainder_scalar", "x.remainder(1.5)", x=x)
    case("remainder_negative", "x.remainder(-0.75)", x=x)
    case("tanh_scalar", "x.tanh()", x=np.asarray(0.75, dtype=np.float32))
    case("relu_1", "x.relu()", x=np.asarray([[-0.25]], dtype=np.float32))


def binary_cases():
    def operands(name, a, b):
        return {"x": randn(f"{name}/x", *a), "w": randn(f"{name}/w", *b)}

    calls = {
        "add": "x + w",
        "sub": "x - w",
        "mul": "x * w",
        "div": "x / w",
        "maximum": "torch.maximum(x, w)",
        "minimum": "torch.minimum(x, w)",
    }
    shapes = {"": ((4, 1, 5), (3, 1)), "_same_17": ((17,), (17,)), "_row": ((3, 17), (17,)), "_scalar": ((2, 3), ())}
    for op, call in calls.items():
        for suffix, (a, b) in shapes.items():
            name = op + suffix
            inputs = {role: np.asarray(value, dtype=np.float32) for role, value in operands(name, a, b).items()}
            if op == "div":
                w = inputs["w"]  # away from zero
                inputs["w"] = np.asarray(np.where(w < 0, w - 0.25, w + 0.25), dtype=np.float32)
            case(name, call, **inputs)
    for op in ("maximum", "minimum"):
        name = f"{op}_ties"
        x = integers(f"{name}/x", 3, 4, 1, 5).astype(np.float32) - 1
        w = integers(f"{name}/w", 3, 3, 1).astype(np.float32) - 1
        case(name, calls[op], x=x, w=w)
    case("pow", "x.pow(w)", x=uniform("pow/x", 0.1, 4, 4, 1, 5), w=uniform("pow/w", -3, 3, 3, 1))
    w = uniform("remainder/w", 0.5, 2, 3, 1)
    case("remainder", "x.remainder(w)", x=3 * randn("remainder/x", 4, 1, 5), w=np.concatenate([w[:2], -w[2:]]))
    case("pow_same_17", "x.pow(w)", x=uniform("pow_same_17/x", 0.1, 4, 17), w=uniform("pow_same_17/w", -3, 3, 17))


# --- Reductions ---------------------------------------------------------------------------------------------------------


DIMS = {"d0": (0,), "d1": (1,), "d-1": (-1,), "d0x2": (0, 2), "dall": (0, 1, 2)}


def reduce_cases():
    tied = integers("ties", 3, 3, 4, 5).astype(np.float32) - 1
    for op in ("sum", "mean", "prod", "amax", "amin"):
        for label, dims in DIMS.items():
            for keepdim in (False, True):
                name = f"{op}_{label}" + ("_keepdim" if keepdim else "")
                call = f"torch.{op}(x, dim={dims}, keepdim={keepdim})"
                if op == "prod":  # takes one dim at a time
                    call = "x" + "".join(f".prod({d}, keepdim=True)" for d in dims)
                    call += "" if keepdim else f".squeeze({dims})"
                case(name, call, x=randn(name, 3, 4, 5))
    for op in ("amax", "amin"):
        for label, dims in DIMS.items():
            case(f"{op}_ties_{label}", f"torch.{op}(x, dim={dims})", x=tied)
    for op in ("argmax", "argmin"):
        find = getattr(np, op)  # documented to return the first occurrence, which PyTorch leaves open
        for label, dims in DIMS.items():
            if label == "d0x2":
                continue
            dim = None if label == "dall" else dims[0]
            argument = "" if dim is None else f"dim={dim}"
            name = f"{op}_{label}"
            case(name, f"x.{op}({argument})", x=randn(name, 3, 4, 5))
            y = case(f"{op}_ties_{label}", f"x.{op}({argument})", x=tied)["y"]
            assert (y == find(tied, axis=dim)).all(), f"{op}: PyTorch did not return the first occurrence"
        case(f"{op}_d1_keepdim", f"x.{op}(dim=1, keepdim=True)", x=randn(f"{op}_d1_keepdim", 3, 4, 5))
        case(f"{op}_17", f"x.{op}(dim=-1)", x=randn(f"{op}_17", 2, 17))

    zeros = randn("prod_zeros", 4, 5)
    zeros[1, 2] = 0  # one zero: only its own gradient is not zero
    zeros[2, [0, 3]] = 0  # two zeros: no gradient at all
    case("prod_zeros_d1", "x.prod(1)", x=zeros)
    for op in ("var", "std"):
        for keepdim in (False, True):
            name = f"{op}_d1" + ("_keepdim" if keepdim else "")
            case(name, f"x.{op}(dim=1, keepdim={keepdim})", x=randn(name, 3, 4, 5))
        case(f"{op}_biased_d1", f"x.{op}(dim=1, correction=0)", x=randn(f"{op}_biased_d1", 3, 4, 5))
    case("var_offset_d1", "x.var(dim=1)", x=randn("var_offset_d1", 3, 17) + 100)
    for label, dims in DIMS.items():
        case(f"logsumexp_{label}", f"x.logsumexp({dims})", x=randn(f"logsumexp_{label}", 3, 4, 5))
    case("logsumexp_large_d1", "x.logsumexp(1)", x=large("logsumexp_large_d1"))
    for label, p in {"2": 2, "1": 1, "3": 3, "half": 0.5, "inf": float("inf")}.items():
        x = randn(f"norm_{label}", 3, 4, 5)
        x[0, :2] = 0  # a whole row of zeros for d-1, and zeros among others for d1
        shown = "float('inf')" if p == float("inf") else p
        if p != float("inf"):  # ties of zeros have no agreed gradient there
            case(f"norm_{label}_d-1", f"torch.linalg.vector_norm(x, {shown}, -1)", x=x)
        else:
            case(f"norm_{label}_d-1", f"torch.linalg.vector_norm(x, {shown}, -1)", x=randn("norm_inf", 3, 4, 5))
    case("norm_2_dall", "torch.linalg.vector_norm(x, 2)", x=randn("norm_2_dall", 3, 4, 5))
    for d in (0, 1, -1):
        case(f"cumsum_d{d}", f"x.cumsum({d})", x=randn(f"cumsum_d{d}", 3, 4, 5))
        for word, flag in (("ascending", False), ("descending", True)):
            name = f"sort_{word}_d{d}"
            case(name, f"x.sort(dim={d}, descending={flag}, stable=True)", x=integers(name, 4, 3, 4, 5).astype(np.float32) - 1)
    case("topk_largest_k3_d1", "x.topk(3, 1)", x=randn("topk_largest", 3, 17))
    case("topk_smallest_k2_d0", "x.topk(2, 0, largest=False)", x=randn("topk_smallest", 7, 3))
    case("sum_17_d1", "x.sum(1)", x=randn("sum_17_d1", 5, 17))
    case("mean_17_d0", "x.mean(0)", x=randn("mean_17_d0", 17, 5))


def large(name):
    """[3, 4, 5] with values whose exp overflows."""
    x = randn(name, 3, 4, 5)
    x[0, 1, 2], x[0, 1, 3], x[2, 3, 4], x[1, 0, 0] = 1000, 999, -1000, 88
    x[1, 2] += 1000  # a whole row far from zero
    x[:, 3, 1] -= 1000
    return x


# --- Products and convolutions ------------------------------------------------------------------------------------------


def name_of(shape):
    return "x".join(map(str, shape))


def matmul_cases():
    for a, b in [
        ((3, 5), (5, 7)),
        ((1, 17), (17, 1)),
        ((17, 3), (3, 17)),
        ((2, 3, 4, 5), (5, 6)),
        ((2, 1, 4, 5), (3, 5, 2)),
        ((5,), (5,)),
        ((3, 5), (5,)),
        ((5,), (5, 4)),
    ]:
        name = f"matmul_{name_of(a)}_{name_of(b)}"
        case(name, "x @ w", x=randn(f"{name}/x", *a), w=randn(f"{name}/w", *b))
    for a in ((4, 5), (2, 3, 5), (1, 5)):
        name = f"linear_{name_of(a)}_3x5_3"
        case(name, "F.linear(x, w, b)", x=randn(f"{name}/x", *a), w=randn(f"{name}/w", 3, 5), b=randn(f"{name}/b", 3))
    case("linear_4x5_3x5", "F.linear(x, w)", x=randn("linear_4x5_3x5/x", 4, 5), w=randn("linear_4x5_3x5/w", 3, 5))


def conv(x, c_out, kernel, stride, padding, dilation, groups, bias):
    """One convolution; `x` is its input's shape, the other sizes are tuples over the spatial dims."""
    rank = len(kernel)
    attributes = f"s{name_of(stride)}_p{name_of(padding)}_d{name_of(dilation)}_g{groups}_k{name_of(kernel)}"
    name = f"conv{rank}d_{attributes}_{'bias' if bias else 'nobias'}"
    inputs = {"x": randn(f"{name}/x", *x), "w": randn(f"{name}/w", c_out, x[1] // groups, *kernel)}
    if bias:
        inputs["b"] = randn(f"{name}/b", c_out)
    arguments = f"stride={stride}, padding={padding}, dilation={dilation}, groups={groups}"
    case(name, f"F.conv{rank}d(x, w, {'b' if bias else 'None'}, {arguments})", **inputs)


def conv_cases():
    #     input          out  kernel  stride  padding dilation g  bias
    conv((1, 1, 5, 5), 1, (1, 1), (1, 1), (0, 0), (1, 1), 1, False)
    conv((3, 2, 5, 5), 3, (3, 3), (1, 1), (0, 0), (1, 1), 1, True)
    conv((1, 2, 3, 3), 2, (3, 3), (1, 1), (0, 0), (1, 1), 1, False)  # one output pixel
    conv((1, 2, 6, 7), 3, (3, 3), (1, 1), (1, 1), (1, 1), 1, True)
    conv((1, 1, 1, 17), 2, (3, 3), (1, 1), (1, 1), (1, 1), 1, False)  # one row
    conv((3, 2, 7, 6), 4, (3, 3), (2, 2), (1, 1), (1, 1), 1, False)
    conv((1, 2, 9, 9), 2, (3, 3), (3, 3), (0, 0), (1, 1), 1, True)
    conv((3, 3, 6, 5), 2, (1, 1), (2, 2), (0, 0), (1, 1), 1, True)  # stride > kernel
    conv((1, 2, 8, 9), 2, (1, 1), (3, 3), (1, 1), (1, 1), 1, False)  # and windows wholly in the padding
    conv((1, 2, 9, 9), 2, (3, 2), (3, 3), (0, 0), (1, 1), 1, True)
    conv((1, 1, 9, 8), 2, (5, 5), (1, 1), (2, 2), (1, 1), 1, True)
    conv((3, 1, 9, 9), 2, (5, 5), (2, 2), (0, 0), (1, 1), 1, False)
    conv((1, 4, 7, 6), 6, (3, 2), (2, 1), (1, 2), (1, 1), 2, True)
    conv((3, 4, 5, 5), 4, (3, 3), (1, 1), (1, 1), (1, 1), 4, True)  # depthwise
    conv((1, 3, 6, 6), 6, (3, 3), (2, 2), (1, 1), (1, 1), 3, False)  # depthwise, two filters each
    conv((1, 2, 8, 9), 3, (3, 3), (1, 1), (2, 2), (2, 2), 1, True)
    conv((1, 2, 9, 10), 2, (3, 2), (2, 1), (1, 2), (2, 1), 1, False)
    conv((3, 4, 7, 6), 4, (3, 3), (2, 2), (2, 2), (2, 2), 2, True)

    conv((1, 1, 1), 1, (1,), (1,), (0,), (1,), 1, True)
    conv((3, 2, 17), 3, (3,), (1,), (0,), (1,), 1, True)
    conv((1, 2, 17), 3, (3,), (1,), (1,), (1,), 1, False)
    conv((3, 2, 16), 2, (5,), (2,), (2,), (1,), 1, True)
    conv((1, 3, 17), 2, (1,), (3,), (0,), (1,), 1, True)  # stride > kernel
    conv((1, 2, 17), 2, (2,), (3,), (1,), (1,), 1, False)
    conv((3, 4, 11), 6, (3,), (2,), (1,), (1,), 2, True)
    conv((1, 4, 9), 4, (3,), (1,), (1,), (1,), 4, True)  # depthwise
    conv((1, 3, 9), 6, (3,), (1,), (1,), (1,), 3, False)
    conv((3, 2, 13), 3, (3,), (1,), (2,), (2,), 1, True)
    conv((1, 4, 17), 2, (3,), (3,), (2,), (2,), 2, True)
    conv((3, 1, 5), 2, (5,), (1,), (0,), (1,), 1, True)  # one output


def conv_transposed(x, out, kernel, stride, padding, extra, dilation, groups, bias):
    """`e` is the output padding."""
    name = f"conv_transpose2d_k{name_of(kernel)}_s{name_of(stride)}_p{name_of(padding)}_e{name_of(extra)}"
    name += f"_d{name_of(dilation)}_g{groups}" + ("_bias" if bias else "")
    inputs = {"x": randn(f"{name}/x", *x), "w": randn(f"{name}/w", x[1], out // groups, *kernel)}
    if bias:
        inputs["b"] = randn(f"{name}/b", out)
    arguments = f"stride={stride}, padding={padding}, output_padding={extra}, groups={groups}, dilation={dilation}"
    case(name, f"F.conv_transpose2d(x, w, {'b' if bias else 'None'}, {arguments})", **inputs)


def conv_transpose_cases():
    #               input          out  kernel  stride  padding extra   dilation g  bias
    conv_transposed((2, 3, 4, 5), 2, (3, 3), (1, 1), (0, 0), (0, 0), (1, 1), 1, True)
    conv_transposed((1, 2, 3, 3), 3, (2, 2), (2, 2), (0, 0), (0, 0), (1, 1), 1, False)
    conv_transposed((2, 4, 3, 4), 6, (3, 2), (2, 3), (1, 0), (1, 2), (1, 1), 2, True)
    conv_transposed((1, 2, 4, 3), 2, (3, 3), (2, 1), (2, 1), (0, 0), (2, 1), 1, True)
    conv_transposed((1, 3, 5, 1), 3, (1, 1), (3, 1), (0, 0), (2, 0), (1, 1), 3, False)


# --- Pooling ------------------------------------------------------------------------------------------------------------


def max_pool(x, kernel, stride, padding, dilation, label="", values=None):
    rank = len(kernel)
    name = f"max_pool{rank}d_k{name_of(kernel)}_s{name_of(stride)}_p{name_of(padding)}_d{name_of(dilation)}{label}"
    values = randn(name, *x) if values is None else values
    arguments = f"{kernel}, stride={stride}, padding={padding}, dilation={dilation}, return_indices=True"
    return case(name, f"F.max_pool{rank}d(x, {arguments})", x=values)


def avg_pool(x, kernel, stride, padding, include_pad):
    rank = len(kernel)
    label = "include" if include_pad else "exclude"
    name = f"avg_pool{rank}d_k{name_of(kernel)}_s{name_of(stride)}_p{name_of(padding)}_{label}"
    arguments = f"{kernel}, stride={stride}, padding={padding}, count_include_pad={include_pad}"
    case(name, f"F.avg_pool{rank}d(x, {arguments})", x=randn(name, *x))


def pool_cases():
    one = (1, 1)
    max_pool((2, 2, 6, 6), (2, 2), (2, 2), (0, 0), one)
    max_pool((1, 2, 5, 7), (2, 2), (2, 2), (0, 0), one, "_odd")
    max_pool((2, 2, 7, 8), (3, 3), (2, 2), (1, 1), one)
    max_pool((1, 2, 7, 7), (3, 3), (2, 2), (1, 1), one, "_negative", -1 - uniform("negative", 0, 1, 1, 2, 7, 7))
    max_pool((1, 3, 6, 5), (3, 3), (1, 1), (0, 0), one)
    max_pool((1, 2, 8, 8), (2, 2), (3, 3), (0, 0), one)  # stride > kernel
    max_pool((2, 1, 9, 8), (3, 3), (1, 1), (1, 1), (2, 2))
    max_pool((1, 2, 7, 9), (3, 2), (2, 1), (1, 0), one)
    max_pool((2, 3, 4, 4), (4, 4), (4, 4), (0, 0), one)  # the whole plane
    # Ties go to the first element of the window in row-major order: ReLU makes many zeros.
    values = np.maximum(integers("pool ties", 5, 1, 2, 6, 6) - 2, 0).astype(np.float32)
    stored = max_pool(None, (2, 2), (2, 2), (0, 0), one, "_ties", values)
    windows = values.reshape(1, 2, 3, 2, 3, 2).transpose(0, 1, 2, 4, 3, 5).reshape(1, 2, 3, 3, 4)
    first = windows.argmax(-1)
    row = 2 * np.arange(3)[:, None] + first // 2
    column = 2 * np.arange(3)[None, :] + first % 2
    assert (stored["indices"] == row * 6 + column).all(), "max_pool2d: a tie did not go to the first element"
    max_pool((2, 3, 17), (3,), (2,), (1,), (1,))

    avg_pool((2, 2, 6, 6), (2, 2), (2, 2), (0, 0), True)
    avg_pool((1, 2, 7, 8), (3, 3), (2, 2), (1, 1), True)
    avg_pool((1, 2, 7, 8), (3, 3), (2, 2), (1, 1), False)
    avg_pool((1, 3, 6, 5), (3, 3), (1, 1), (0, 0), True)
    avg_pool((1, 2, 7, 8), (2, 2), (3, 3), (0, 0), True)  # stride > kernel
    avg_pool((2, 3, 17), (3,), (2,), (1,), True)


# --- Softmax and losses -------------------------------------------------------------------------------------------------


def softmax_cases():
    for op in ("softmax", "log_softmax"):
        for dim in (0, 1, -1):
            name = f"{op}_d{dim}"
            case(name, f"F.{op}(x, {dim})", x=randn(name, 3, 4, 5))
            name = f"{op}_large_d{dim}"
            case(name, f"F.{op}(x, {dim})", x=large(name))
        case(f"{op}_17_d-1", f"F.{op}(x, -1)", x=randn(f"{op}_17_d-1", 2, 17))
        case(f"{op}_one_d-1", f"F.{op}(x, -1)", x=randn(f"{op}_one_d-1", 4, 1))


def loss_cases():
    def loss(name, call, x, target):
        case(name, call, loss=True, x=x, target=target)

    targets = integers("targets", 10, 7)
    logits = randn("cross_entropy_large", 7, 10)
    logits[0, 3], logits[1, targets[1]], logits[2] = 1000, -1000, logits[2] + 1000
    loss("cross_entropy", "F.cross_entropy(x, target)", 2 * randn("cross_entropy", 7, 10), targets)
    loss("cross_entropy_large", "F.cross_entropy(x, target)", logits, targets)
    loss("cross_entropy_one", "F.cross_entropy(x, target)", randn("cross_entropy_one", 1, 17), integers("one", 17, 1))
    loss("nll_loss", "F.nll_loss(x, target)", -uniform("nll_loss", 0, 5, 7, 10), targets)
    soft = uniform("soft targets", 0, 1, 5, 17)
    soft[0, :4] = [0, 1, 0, 1]
    loss("bce", "F.binary_cross_entropy(x, target)", uniform("bce", 0.02, 0.98, 5, 17), soft)
    x = with_specials("bce_with_logits", [0, 1000, -1000, 50, -50, 80, -80])
    loss("bce_with_logits", "F.binary_cross_entropy_with_logits(x, target)", x, soft)
    loss("mse", "F.mse_loss(x, target)", randn("mse/x", 5, 17), randn("mse/target", 5, 17))


# --- Indexing and views -------------------------------------------------------------------------------------------------


def index_cases():
    case("gather_d1", "x.gather(1, index)", x=randn("gather_d1", 4, 6), index=integers("gather_d1/i", 6, 4, 3))
    case("gather_d0", "x.gather(0, index)", x=randn("gather_d0", 4, 6), index=integers("gather_d0/i", 4, 5, 6))
    # `w` is what is added, at rows that repeat.
    case(
        "scatter_add_d0",
        "x.scatter_add(0, index, w)",
        x=randn("scatter_add_d0/x", 3, 5),
        w=randn("scatter_add_d0/w", 6, 5),
        index=integers("scatter_add_d0/i", 3, 6, 5),
    )
    repeated = np.asarray([2, 0, 2, 3, 2], dtype=np.int32)
    case("index_select_d0", "x.index_select(0, index)", x=randn("index_select_d0", 4, 5), index=repeated)
    case("index_select_d1", "x.index_select(1, index)", x=randn("index_select_d1", 3, 4, 2), index=repeated)
    case("embedding", "F.embedding(index, w)", w=randn("embedding", 6, 4), index=integers("embedding/i", 6, 2, 5))
    mask = integers("mask", 2, 4, 1, 5)
    case("where", "torch.where(mask.bool(), x, w)", mask=mask, x=randn("where/x", 4, 1, 5), w=randn("where/w", 3, 1))
    case(
        "masked_fill",
        "x.masked_fill(mask.bool(), -2.5)",
        mask=integers("masked_fill/m", 2, 4, 5),
        x=randn("masked_fill", 3, 4, 5),
    )
    case("slice", "x[1:3, 2:]", x=randn("slice", 4, 5, 3))
    case("slice_last", "x[..., 3:4]", x=randn("slice_last", 2, 3, 5))
    case("permute_2x0x1", "x.permute(2, 0, 1)", x=randn("permute_2x0x1", 3, 4, 5))
    case("transpose_0x1", "x.transpose(0, 1)", x=randn("transpose_0x1", 5, 17))


# --- Optimizers ---------------------------------------------------------------------------------------------------------


def optim_cases():
    def run(name, call):
        CASES.append((f"optim_{name}", call))
        start = randn("optim start", 7)
        gradients = randn("optim gradients", 10, 7)
        gradients[3] = 0
        gradients[:, 5] *= 1e-3
        gradients[:, 6] *= 1e3
        both = {}
        for dtype in (torch.float64, torch.float32):
            p = torch.from_numpy(start.copy()).to(dtype).requires_grad_()
            optimizer = eval(call, {"torch": torch, "p": p})  # noqa: S307 - the text is ours
            after = []
            for gradient in gradients:
                p.grad = torch.from_numpy(gradient).to(dtype)
                optimizer.step()
                after.append(to_numpy(p).copy())
            both[dtype] = np.stack(after)
        check(f"optim_{name}/params", both[torch.float64], both[torch.float32])
        OPS[f"optim_{name}/start"] = start
        OPS[f"optim_{name}/grads"] = gradients
        OPS[f"optim_{name}/params"] = both[torch.float64]

    run("sgd", "torch.optim.SGD([p], lr=0.1)")
    run("sgd_momentum", "torch.optim.SGD([p], lr=0.1, momentum=0.9)")
    run("sgd_nesterov", "torch.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True)")
    run("sgd_decay_dampening", "torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01, dampening=0.1)")
    run("adam", "torch.optim.Adam([p], lr=0.01)")
    run("adam_decay", "torch.optim.Adam([p], lr=0.01, weight_decay=0.1)")
    run("adam_betas_eps", "torch.optim.Adam([p], lr=0.01, betas=(0.8, 0.99), eps=1e-6)")
    run("adamw", "torch.optim.AdamW([p], lr=0.01, weight_decay=0.1)")
    run("rmsprop", "torch.optim.RMSprop([p], lr=0.01)")
    run("rmsprop_momentum", "torch.optim.RMSprop([p], lr=0.01, momentum=0.9)")
    run("rmsprop_centered", "torch.optim.RMSprop([p], lr=0.01, alpha=0.9, centered=True)")
    run("rmsprop_decay", "torch.optim.RMSprop([p], lr=0.01, eps=1e-4, weight_decay=0.1)")
    run("rmsprop_all", "torch.optim.RMSprop([p], lr=0.01, alpha=0.9, momentum=0.5, centered=True, weight_decay=0.1)")
    run("adagrad", "torch.optim.Adagrad([p], lr=0.1)")
    run("adagrad_decays", "torch.optim.Adagrad([p], lr=0.1, lr_decay=0.2, weight_decay=0.1)")
    run("adagrad_initial", "torch.optim.Adagrad([p], lr=0.1, initial_accumulator_value=0.5, eps=1e-4)")


# --- Weights that minitorch wrote ----------------------------------------------------------------------------------------


def load_strictly(model, path):
    """Load a file as a PyTorch user does. Its names, shapes and dtypes must be the model's, but for int64, which is int32 in it."""
    state = safetensors.torch.load_file(path)
    for name, expected in model.state_dict().items():
        # load_state_dict would convert another dtype silently.
        narrow = expected.dtype == torch.int64 and name in state and state[name].dtype == torch.int32
        if name in state and state[name].dtype != expected.dtype and not narrow:
            sys.exit(f"{path}: {name} is {state[name].dtype}, expected {expected.dtype}")
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:  # lists what is missing, unexpected or misshapen
        sys.exit(f"{path}: {error}")
    return model


# --- LeNet-5 ------------------------------------------------------------------------------------------------------------


class LeNet(torch.nn.Module):
    """The network of examples/mnist: 61,706 parameters."""

    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = torch.nn.Conv2d(6, 16, 5)
        self.fc1 = torch.nn.Linear(400, 120)
        self.fc2 = torch.nn.Linear(120, 84)
        self.fc3 = torch.nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x).relu(), 2)
        x = F.max_pool2d(self.conv2(x).relu(), 2).flatten(1)
        return self.fc3(self.fc2(self.fc1(x).relu()).relu())


def lenet(dtype, state, x, target):
    """Logits, loss, gradients and two short trainings, all from `state`."""
    x = torch.from_numpy(x).to(dtype)
    target = torch.from_numpy(target).long()

    def fresh():
        model = LeNet()
        model.load_state_dict(state)
        return model.to(dtype)

    def train(model, optimizer):
        losses = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            losses.append(to_numpy(loss))
        return np.stack(losses)

    model = fresh()
    logits = model(x)
    loss = F.cross_entropy(logits, target)
    loss.backward()
    result = {"logits": to_numpy(logits), "loss": to_numpy(loss)}
    for name, parameter in model.named_parameters():
        if name.split(".")[0] in ("conv1", "conv2", "fc3"):  # the large ones would double the file
            result[f"grad/{name}"] = to_numpy(parameter.grad)
    model = fresh()
    result["sgd_losses"] = train(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
    model = fresh()
    result["adam_losses"] = train(model, torch.optim.Adam(model.parameters(), lr=1e-3))
    return result


def lenet_tensors():
    torch.manual_seed(0)
    state = LeNet().state_dict()
    x = randn("lenet/x", 4, 1, 28, 28)
    target = np.asarray([3, 0, 9, 3], dtype=np.int32)
    exact = lenet(torch.float64, state, x, target)
    single = lenet(torch.float32, state, x, target)
    for name in exact:
        check(f"lenet/{name}", exact[name], single[name])
    tensors = {f"state/{name}": to_numpy(value) for name, value in state.items()}
    return state, {**tensors, "x": x, "target": target, **exact}


# --- Files --------------------------------------------------------------------------------------------------------------


README = """\
# Goldens

What PyTorch {version} computes, for the tests of every backend. Remake with `scripts/goldens.py` (its head says how); this
page is written by it too. The same versions of PyTorch, numpy and safetensors give the same bytes.

The tensors are float32, indices and masks int32. Results were computed in float64 from the float32 inputs and rounded once.
PyTorch's own float32 results lie within {worst:.1e} * (1 + |y|) of them, the worst being `{where}`.
The data is ours, generated from fixed seeds, under the licence of this repository.

| file | holds |
|---|---|
| `ops.safetensors` | {cases} cases, `<case>/<role>`, listed below |
| `lenet.safetensors` | LeNet-5: `state/<parameter>` (PyTorch's default initialisation, seed 0), `x`, `target`, `logits`, `loss` (mean cross-entropy), `grad/<parameter>` for conv1, conv2 and fc3, `sgd_losses` (10 steps on that batch from that state, lr 0.05, momentum 0.9; each loss is taken before its step) and `adam_losses` (the same, lr 0.001) |
| `lenet-torch.safetensors` | the same state as a PyTorch user saves it: `safetensors.torch.save_file(model.state_dict(), ..)` |
| `lenet-minitorch.safetensors` | the reverse: a LeNet-5 that `examples/mnist` trained and saved |
| `lenet-minitorch-logits.safetensors` | `logits` that PyTorch computes from it on `x` of `lenet.safetensors`: `scripts/check_weights.py lenet-minitorch.safetensors --write ..` |
| `layers-torch.safetensors` | every kind of layer with weights, as a PyTorch user saves it; made by `scripts/goldens_layers.py`, as is the next |
| `layers.safetensors` | `<layer>/x`, an input of each, and `<layer>/y`, its output in evaluation |
| `optim.safetensors` | ten steps of AMSGrad, NAdam, RAdam and Lion, with groups and weight decay; made by `scripts/goldens_optim.py`, whose head says what it holds |
| `resnet20-torch.safetensors` | ResNet-20 of `examples/resnet` as a PyTorch user saves it, after 60 steps on MNIST; made by `scripts/goldens_resnet.py`, as is the next |
| `resnet20.safetensors` | from that state: `x` [2, 8, 1, 28, 28] and `target`, two batches, the first 16 test images of MNIST (`data/mnist/README.md`); `logits` of the first in evaluation; `grad/<parameter>` for some, of the first's loss in training; `sgd_losses` (10 steps, the batches in turns, lr 0.005, Nesterov's momentum 0.9, weight decay 5e-4; each loss is taken before its step) and `after/<buffer>`, running statistics after them |

Roles:

- inputs, by the names the call uses: `x`, `w` (weight, or second operand), `b` (bias), `target`, `index`, `mask` (0 or 1);
- `y`, the output; for max pooling also `indices`, flat within the plane, padding not counted;
- `cot`, a random cotangent with the shape of `y`, and `gx`, `gw`, `gb`: the gradients of sum(y * cot) by that input. A loss has no
  `cot`: its cotangent is 1. Integer outputs have neither;
- for optimizers: `start` [7], `grads` [10, 7] (one row a step) and `params` [10, 7], the parameter `p` after each step.

Where a function has a kink or a tie: ReLU and abs have gradient 0 at 0; maximum and minimum give half to each side of a tie;
amax and amin share the gradient evenly among the largest; max pooling gives it to the first of the window in row-major order;
argmax and argmin return the first occurrence; round goes to even.

## Cases of `ops.safetensors`

| case | PyTorch call | shapes |
|---|---|---|
{rows}
"""


def write(path, content):
    """Write under a temporary name, then rename: the replacement is atomic."""
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    os.replace(partial, path)


def serialized(tensors, metadata):
    # ascontiguousarray turns rank 0 into rank 1, hence the reshape.
    tensors = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in tensors.items()}
    return safetensors.numpy.save(tensors, metadata)


def shapes_of(name):
    shown = []
    for key, value in OPS.items():
        owner, role = key.split("/")
        if owner == name and role not in ("cot", "gx", "gw", "gb"):
            shown.append(f"{role} [{', '.join(map(str, value.shape))}]")
    return ", ".join(shown)


def norm_cases():
    """Weights around 1, so that no gradient is multiplied by 0."""
    for name, call, shape, affine in (
        ("batch_norm_2d", "F.batch_norm(x, None, None, w, b, True)", (4, 3, 5, 2), 3),
        ("batch_norm_1d", "F.batch_norm(x, None, None, w, b, True, eps=1e-3)", (7, 3), 3),
        ("batch_norm_plain", "F.batch_norm(x, None, None, training=True)", (4, 3, 17), None),
        ("layer_norm_5", "F.layer_norm(x, (5,), w, b)", (3, 4, 5), 5),
        ("layer_norm_plain", "F.layer_norm(x, (17,))", (3, 17), None),
        ("group_norm_2", "F.group_norm(x, 2, w, b)", (3, 6, 5, 2), 6),
        ("group_norm_6", "F.group_norm(x, 6, w, b)", (3, 6, 5), 6),
    ):
        inputs = {"x": 2 * randn(f"{name}/x", *shape) + 0.5}
        if affine:
            inputs |= {"w": uniform(f"{name}/w", 0.5, 1.5, affine), "b": randn(f"{name}/b", affine)}
        case(name, call, **inputs)
    name = "batch_norm_eval"
    case(
        name,
        "F.batch_norm(x, mean, var, w, b, False)",
        x=randn(f"{name}/x", 4, 3, 5),
        w=uniform(f"{name}/w", 0.5, 1.5, 3),
        b=randn(f"{name}/b", 3),
        mean=randn(f"{name}/mean", 3),
        var=uniform(f"{name}/var", 0.5, 2, 3),
    )


def loss_option_cases():
    ignoring = integers("ce_ignoring/target", 5, 7)
    ignoring[[1, 4]] = -100
    spatial = integers("ce_spatial/target", 5, 2, 3, 4)
    spatial[0, 1] = -100
    soft = uniform("ce_soft/target", 0.1, 1, 7, 5)
    soft /= soft.sum(1, keepdims=True)
    for name, extra, target in (
        ("ce_weighted", "weight=cw", integers("ce_weighted/target", 5, 7)),
        ("ce_ignoring", "ignore_index=-100", ignoring),
        ("ce_smooth", "label_smoothing=0.1", integers("ce_smooth/target", 5, 7)),
        ("ce_all", "weight=cw, ignore_index=-100, label_smoothing=0.2", ignoring),
        ("ce_sum", "weight=cw, ignore_index=-100, label_smoothing=0.2, reduction='sum'", ignoring),
        ("ce_none", "weight=cw, ignore_index=-100, label_smoothing=0.2, reduction='none'", ignoring),
        ("ce_spatial", "weight=cw, ignore_index=-100, label_smoothing=0.2", spatial),
        ("ce_spatial_none", "weight=cw, ignore_index=-100, reduction='none'", spatial),
        ("ce_soft", "weight=cw, label_smoothing=0.1", soft),
        ("ce_soft_plain", "reduction='mean'", soft),
    ):
        shape = (2, 5, 3, 4) if "spatial" in name else (7, 5)
        inputs = {"x": randn(f"{name}/x", *shape), "target": target}
        if "weight=cw" in extra:
            inputs["cw"] = uniform(f"{name}/cw", 0.5, 2, 5)
        case(name, f"F.cross_entropy(x, target, {extra})", loss="none" not in name, **inputs)
    pair = {"x": randn("l1/x", 5, 7), "target": randn("l1/target", 5, 7)}
    case("l1", "F.l1_loss(x, target)", loss=True, **pair)
    case("huber", "F.huber_loss(x, target, delta=0.7)", loss=True, **pair)
    log_p = np.log(uniform("kl_div/x", 0.05, 1, 5, 7))
    p = uniform("kl_div/target", 0, 1, 5, 7)
    p[0, 0] = 0
    case("kl_div", "F.kl_div(x, target, reduction='batchmean')", loss=True, x=log_p.astype(np.float32), target=p)


def scatter_cases():
    """Each index at most once, as PyTorch defines no order."""
    order = np.stack([rng(f"scatter/{i}").permutation(6)[:4] for i in range(3)]).astype(np.int32)
    case("scatter_d1", "x.scatter(1, index, w)", x=randn("scatter/x", 3, 6), w=randn("scatter/w", 3, 4), index=order)
    case("scatter_d0", "x.scatter(0, index, w)", x=randn("scatter/x0", 6, 3), w=randn("scatter/w0", 4, 3), index=order.T.copy())


def main():
    parser = argparse.ArgumentParser(description="Write conformance/goldens with PyTorch.")
    default = pathlib.Path(__file__).resolve().parent.parent / "conformance" / "goldens"
    parser.add_argument("output", nargs="?", type=pathlib.Path, default=default, help="directory to write to")
    out = parser.parse_args().output
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out.mkdir(parents=True, exist_ok=True)

    unary_cases()
    binary_cases()
    reduce_cases()
    matmul_cases()
    conv_cases()
    conv_transpose_cases()
    pool_cases()
    softmax_cases()
    loss_cases()
    index_cases()
    norm_cases()
    loss_option_cases()
    scatter_cases()
    optim_cases()
    goldens_arrange.cases(case, randn, integers)
    state, network = lenet_tensors()

    version = torch.__version__.split("+")[0]
    metadata = {"made_by": f"PyTorch {version}"}
    write(out / "ops.safetensors", serialized(OPS, metadata))
    write(out / "lenet.safetensors", serialized(network, metadata))
    write(out / "lenet-torch.safetensors", safetensors.torch.save(state))
    rows = "\n".join(f"| `{name}` | `{call}` | {shapes_of(name)} |" for name, call in CASES)
    page = README.format(version=version, worst=WORST[0], where=WORST[1], cases=len(CASES), rows=rows)
    write(out / "README.md", page.encode())
    print(f"PyTorch {version}, {len(CASES)} cases, {len(OPS)} tensors; worst float32 error {WORST[0]:.2e} in {WORST[1]}")


if __name__ == "__main__":
    main()
