"""Plain torch with the same bits on any number of threads: it runs on one.

Matrix products and sums divide the work by the number of threads, and the order of additions with it. Code that is
worth a native kernel should get one; this is for what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@contextmanager
def single_thread() -> Iterator[None]:
    """Torch's own operations run on the caller's thread alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _OneThread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        ctx.inputs = [x.detach().requires_grad_(needed)
                      for x, needed in zip(inputs, ctx.needs_input_grad[1:], strict=True)]
        with single_thread(), torch.set_grad_enabled(any(ctx.needs_input_grad)):
            ctx.output = function(*ctx.inputs)
        return ctx.output.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        wanted = [x for x in ctx.inputs if x.requires_grad]
        with single_thread():  # the graph is kept as long as the outer one is
            found = iter(torch.autograd.grad(ctx.output, wanted, gradient, retain_graph=True, allow_unused=True))
        return None, *(next(found) if x.requires_grad else None for x in ctx.inputs)


def one_thread(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``function(*inputs)`` of plain torch, once differentiable in the inputs; both ways on one thread."""
    return _OneThread.apply(function, *inputs)
