"""Small Triton kernels, one for each thing that the interpreter must get right; each runs as one program."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra import libdevice
from triton.language.math import exp2 as renamed


@triton.jit
def binary(x, y, out, N: tl.constexpr, OP: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(x + i)
    b = tl.load(y + i)
    if OP == "add":
        c = a + b
    elif OP == "subtract":
        c = a - b
    elif OP == "multiply":
        c = a * b
    elif OP == "maximum":
        c = tl.maximum(a, b)
    elif OP == "maximum_nan":
        c = tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)
    elif OP == "minimum":
        c = tl.minimum(a, b)
    elif OP == "clamp":
        c = tl.clamp(a, b, tl.maximum(b, 1.0).to(b.dtype))
    elif OP == "where":
        c = tl.where(a > b, a, b)
    elif OP == "remainder":
        c = a % b
    else:
        c = a / b
    tl.store(out + i, c)


@triton.jit
def unary(x, out, N: tl.constexpr, OP: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(x + i)
    if OP == "exp":
        c = tl.exp(a)
    elif OP == "exp2":
        c = tl.exp2(a)
    elif OP == "log":
        c = tl.log(a)
    elif OP == "log2":
        c = tl.log2(a)
    elif OP == "sqrt":
        c = tl.sqrt(a)
    elif OP == "sqrt_rn":
        c = tl.sqrt_rn(a)
    elif OP == "rsqrt":
        c = tl.rsqrt(a)
    elif OP == "erf":
        c = tl.erf(a)
    elif OP == "floor":
        c = tl.floor(a)
    elif OP == "ceil":
        c = tl.ceil(a)
    elif OP == "sigmoid":
        c = tl.sigmoid(a)
    elif OP == "abs":
        c = tl.abs(a)
    elif OP == "tanh":
        c = libdevice.tanh(a)
    elif OP == "renamed":
        c = renamed(a)
    else:
        c = -a
    tl.store(out + i, c)


@triton.jit
def cast(x, out, N: tl.constexpr, ROUNDING: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i).to(out.dtype.element_ty, fp_downcast_rounding=ROUNDING))


@triton.jit
def reduce(x, out, N: tl.constexpr, M: tl.constexpr, OP: tl.constexpr):
    i, j = tl.arange(0, N), tl.arange(0, M)
    a = tl.load(x + i[:, None] * M + j[None])
    if OP == "max":
        c = tl.max(a, 1)
    elif OP == "min":
        c = tl.min(a, 1)
    elif OP == "argmax":
        c = tl.argmax(a, 1)
    elif OP == "argmin":
        c = tl.argmin(a, 1)
    else:
        c = tl.sum(a, 1)
    tl.store(out + i, c)


@triton.jit
def total(x, out, N: tl.constexpr):
    tl.store(out, tl.sum(tl.load(x + tl.arange(0, N))))


@triton.jit
def _softmax_pair(m, s, n, t):
    top = tl.maximum(m, n)
    return top, s * tl.exp2(m - top) + t * tl.exp2(n - top)


@triton.jit
def online(x, out, N: tl.constexpr):
    a = tl.load(x + tl.arange(0, N))
    m, s = tl.reduce((a, tl.full([N], 1.0, tl.float32)), 0, _softmax_pair)
    tl.store(out, m)
    tl.store(out + 1, s)


@triton.jit
def _pick(a, b):
    # Python asks for the truth of a comparison here, so it takes scalars.
    return a if a * a > b * b else b


@triton.jit
def branching(x, out, N: tl.constexpr):
    tl.store(out, tl.reduce(tl.load(x + tl.arange(0, N)), 0, _pick))


@triton.jit
def scan(x, out, N: tl.constexpr, REVERSE: tl.constexpr, OP: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(x + i)
    tl.store(out + i, tl.cumsum(a, 0, reverse=REVERSE) if OP == "sum" else tl.cumprod(a, 0, reverse=REVERSE))


@triton.jit
def sort(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.sort(tl.load(x + i)))


@triton.jit
def product(x, y, z, out, N: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr):
    i, k = tl.arange(0, N), tl.arange(0, K)
    a = tl.load(x + i[:, None] * K + k[None])
    b = tl.load(y + k[:, None] * N + i[None])
    c = tl.load(z + i[:, None] * N + i[None])
    c = tl.dot(a, b, c, input_precision=PRECISION, out_dtype=c.dtype)
    tl.store(out + i[:, None] * N + i[None], c)


@triton.jit
def added_product(x, y, z, out, N: tl.constexpr, K: tl.constexpr, FIRST: tl.constexpr):
    i, k = tl.arange(0, N), tl.arange(0, K)
    a = tl.load(x + i[:, None] * K + k[None])
    b = tl.load(y + k[:, None] * N + i[None])
    c = tl.load(z + i[:, None] * N + i[None])
    c = tl.dot(a, b) + c if FIRST else c + tl.dot(a, b)
    tl.store(out + i[:, None] * N + i[None], c)


@triton.jit
def assembly(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(x + i)
    c = tl.inline_asm_elementwise("ex2.approx.ftz.f32 $0, $1;", "=f,f", [a], dtype=tl.float32, is_pure=True, pack=1)
    tl.store(out + i, c)


@triton.jit
def unknown_assembly(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(x + i)
    c = tl.inline_asm_elementwise("brev.b32 $0, $1;", "=r,r", [a], dtype=tl.float32, is_pure=True, pack=1)
    tl.store(out + i, c)


@triton.jit
def multiply_add(x, y, z, out, N: tl.constexpr, SUBTRACT: tl.constexpr):
    i = tl.arange(0, N)
    a, b, c = tl.load(x + i), tl.load(y + i), tl.load(z + i)
    tl.store(out + i, c - a * b if SUBTRACT else a * b + c)


@triton.jit
def logic(x, y, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a, b = tl.load(x + i) > 0, tl.load(y + i) > 0
    c = (a and b) or (not a and not b)
    tl.store(out + i, tl.where(c, 1.0, 0.0))


@triton.jit
def scaled(x, out, scale, N: tl.constexpr):
    i = tl.arange(0, N)
    factor = scale * 1.44269504
    tl.store(out + i, tl.load(x + i) * factor)


@triton.jit
def masked(x, out, count, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i, mask=i < count, other=-float("inf")), mask=i < count + 1)


@triton.jit
def described(x, out, rows, N: tl.constexpr, M: tl.constexpr):
    i, j = tl.arange(0, N), tl.arange(0, M)
    block = tl.make_tensor_descriptor(x, [rows, M], [M, 1], [N, M]).load([0, 0])
    tl.store(out + i[:, None] * M + j[None], block + block)


@triton.jit
def accumulate(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.atomic_add(out + i % 2, tl.load(x + i))


@triton.autotune([triton.Config({"WIDTH": 4}), triton.Config({"WIDTH": 8})], key=["N"])
@triton.jit
def tuned(out, N: tl.constexpr, WIDTH: tl.constexpr):
    tl.store(out, WIDTH + 0 * N)
