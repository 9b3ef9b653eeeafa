"""Linear systems that are known only by their products: preconditioned conjugate gradients.

Source: Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.ops import cuda

_CHUNK = 4096


def dot(a: Tensor, b: Tensor) -> float:
    """Inner product of two vectors [n], summed in fixed chunks: the same bits on any number of threads."""
    n = len(a) // _CHUNK * _CHUNK
    whole = (a[:n] * b[:n]).view(-1, _CHUNK).sum(1)
    tail = (a[n:] * b[n:]).sum()
    return math.fsum([*whole.tolist(), float(tail)]) if n else float(tail)


@dataclass(frozen=True)
class ConjugateGradients:
    """Settings of the linear solver."""

    # most products with the matrix per solve
    iterations: int = 40
    # stops when the residual has shrunk to this share of the right-hand side
    tolerance: float = 0.05


@dataclass(frozen=True)
class Solution:
    """x [n]; b - A x [n] as the recursion tracks it, and its length over |b|; products with the matrix made.

    On a GPU the last two are scalars there.
    """

    x: Tensor
    rest: Tensor
    residual: float | Tensor
    iterations: int | Tensor


def conjugate_gradients(product: Callable[[Tensor], Tensor], b: Tensor, inverse: Tensor | Callable[[Tensor], Tensor],
                        settings: ConjugateGradients | None = None) -> Solution:
    """Solves A x = b [n] for a symmetric positive definite A, given by ``product`` (v -> A v), from x = 0.

    ``inverse`` is the preconditioner: a diagonal [n] > 0 (Jacobi), or a function r -> M^-1 r. Every iterate lowers
    x^T A x / 2 - b^T x, so a solve that is cut short is still a descent direction. Stops early on a direction without
    curvature, and on NaN. On a GPU the host stays a product ahead, see ``ahead_of_device``.
    """
    s = settings or ConjugateGradients()
    if b.device.type == "cuda":
        return ahead_of_device(product, b, inverse, s)
    x, r = torch.zeros_like(b), b.clone()
    size = math.sqrt(dot(b, b))
    if size == 0.0 or not math.isfinite(size):
        return Solution(x, r, 0.0 if size == 0.0 else math.nan, 0)
    precondition = (lambda v: inverse * v) if isinstance(inverse, Tensor) else inverse
    z = precondition(r)
    p, rz, residual, done = z.clone(), dot(r, z), 1.0, 0
    for done in range(1, s.iterations + 1):
        Ap = product(p)
        curvature = dot(p, Ap)
        if not curvature > 0.0:  # rounding has eaten the last digits, or NaN
            return Solution(x, r, residual, done)
        alpha = rz / curvature
        x.add_(p, alpha=alpha)
        r.sub_(Ap, alpha=alpha)
        residual = math.sqrt(dot(r, r)) / size
        if residual <= s.tolerance:
            break
        z = precondition(r)
        rz, before = dot(r, z), rz
        p.mul_(rz / before).add_(z)
    return Solution(x, r, residual, done)


def ahead_of_device(product: Callable[[Tensor], Tensor], b: Tensor, inverse: Tensor | Callable[[Tensor], Tensor],
                    s: ConjugateGradients) -> Solution:
    """``conjugate_gradients`` whose numbers stay where b is: the host asks a product late whether it is done.

    So the device never idles while the host reads a number; for that a product is made that changes nothing any more.
    """
    precondition = (lambda v: inverse * v) if isinstance(inverse, Tensor) else inverse
    x, r = torch.zeros_like(b), b.clone()
    size = _dot(b, b).sqrt()
    z = precondition(r)
    p, rz = z.clone(), _dot(r, z)
    live = torch.isfinite(size) & (size > 0)
    residual, made = torch.where(size == 0, 0.0, torch.where(live, 1.0, size * torch.nan)), torch.zeros_like(size)
    asked: Callable[[], float] | None = None
    for _ in range(s.iterations):
        Ap = product(p)
        curvature = _dot(p, Ap)
        made = made + live
        live = live & (curvature > 0)
        alpha = (rz / curvature).to(b.dtype)
        x, r = torch.where(live, x + alpha * p, x), torch.where(live, r - alpha * Ap, r)
        residual = torch.where(live, _dot(r, r).sqrt() / size, residual)
        live = live & (residual > s.tolerance)
        before, asked = asked, cuda.start_copy(live.double())
        if before is not None and before() == 0.0:
            break
        z = precondition(r)
        after = _dot(r, z)
        p, rz = torch.where(live, z + (after / rz).to(b.dtype) * p, p), torch.where(live, after, rz)
    return Solution(x, r, residual, made)


def inner(a: Tensor, b: Tensor) -> float | Tensor:
    """``dot``; on a GPU a float64 scalar there."""
    return dot(a, b) if a.device.type == "cpu" else _dot(a, b)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """As ``dot``, as a float64 scalar in its place; the chunks are added up in double precision."""
    n = len(a) // _CHUNK * _CHUNK
    whole = (a[:n] * b[:n]).view(-1, _CHUNK).sum(1)
    return whole.double().sum() + (a[n:] * b[n:]).sum().double()
