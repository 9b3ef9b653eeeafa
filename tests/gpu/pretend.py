"""Pretends that there is a GPU: tensors that say they are on "cuda", and refuse to be mixed with the processor's.

Every such tensor wraps one of the processor, which does the work; PyTorch's own dispatch is intercepted to keep the two
apart as a CUDA build would. So the engine's placement of tensors is tested without a GPU: what forgets to move a tensor
fails here as it would fail there. The CUDA drivers run on the executor, on the tensors inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

CUDA = torch.device("cuda", 0)
WAITS: list[str] = []  # operations so far for which a host would have waited for the GPU
UNORDERED: list[str] = []  # operations so far that a GPU does in another order, and with other bits, in every run
_STAND_IN = torch.device("meta")  # what the wrapper's device is for PyTorch's own code


def _is_cuda(device: Any) -> bool:
    return device is not None and str(device).startswith("cuda")


class Pretended(Tensor):
    """A tensor "on the GPU"; ``inner`` holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretended:
        made: Pretended = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=_STAND_IN, requires_grad=False)
        made.inner = inner
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Pretended({self.inner!r})"

    def tolist(self) -> Any:
        WAITS.append("tolist")
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _unwrap(x: Any) -> Any:
    return x.inner if isinstance(x, Pretended) else x


_SIZED_BY_VALUES = (torch.ops.aten.nonzero.default, torch.ops.aten.masked_select.default,
                    torch.ops.aten._unique2.default, torch.ops.aten.equal.default)


def _waits(func: Any, args: Any, ours: list[Pretended], to_cpu: bool) -> bool:
    """Whether a host must wait for the GPU: it wants values, or a size that depends on values."""
    if func is torch.ops.aten._local_scalar_dense.default or func in _SIZED_BY_VALUES:
        return bool(ours)
    if func is torch.ops.aten.copy_.default:
        return isinstance(args[1], Pretended) != isinstance(args[0], Pretended)
    if func in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default):
        return any(isinstance(t, Pretended) and t.dtype in (torch.bool, torch.uint8) for t in args[1])
    return to_cpu and bool(ours)


_aten = torch.ops.aten
_ADDED_BY_ATOMICS = (_aten.index_reduce_.default, _aten.put_.default,
                     _aten.grid_sampler_2d_backward.default, _aten.grid_sampler_3d_backward.default,
                     _aten.upsample_linear1d_backward.default, _aten.upsample_bilinear2d_backward.default,
                     _aten.upsample_trilinear3d_backward.default, _aten.max_pool3d_with_indices_backward.default,
                     _aten.convolution_backward.default)


def _has_no_order(func: Any, args: Any, ours: list[Pretended]) -> bool:
    """Whether CUDA adds up fractions in an order of its own. Not where no two go to one place, which holds wherever
    gradients of ``gather`` are scattered."""
    if func in (_aten.index_add.default, _aten.index_add_.default) and ours:
        index = _unwrap(args[2])
        return args[0].is_floating_point() and len(index.unique()) < len(index)
    if func is _aten.cumsum.default or func is _aten.cumsum.out:
        return bool(ours) and args[0].is_floating_point()
    return bool(ours) and func in _ADDED_BY_ATOMICS and ours[0].is_floating_point()


def _waits_to_send(func: Any, args: Any, kwargs: dict[str, Any], to_device: bool) -> bool:
    """Whether numbers go to the GPU from memory that is not pinned: the host waits until they are there."""
    return (func is torch.ops.aten._to_copy.default and to_device and not isinstance(args[0], Pretended)
            and not kwargs.get("non_blocking"))


def _written_to(func: Any, tensors: list[Tensor]) -> bool:
    """Whether an operation writes to a tensor of the processor."""
    written = str(func).partition(".")[2].partition(".")[0].endswith("_")
    return written and bool(tensors) and not isinstance(tensors[0], Pretended)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat, _ = tree_flatten((args, kwargs))
    tensors = [t for t in flat if isinstance(t, Tensor)]
    ours = [t for t in tensors if isinstance(t, Pretended)]
    wanted = kwargs.get("device")
    to_device = wanted is not None and torch.device(wanted).type == "meta"
    if func is torch.ops.aten.copy_.default:
        mixed = []
    elif func in (_aten.cat.default, _aten.stack.default) or _written_to(func, tensors):
        mixed = [t for t in tensors if not isinstance(t, Pretended)]  # single numbers too
    else:
        mixed = [t for t in tensors if not isinstance(t, Pretended) and t.ndim > 0]
    if to_device and any(isinstance(x, torch.Generator) for x in flat):
        raise RuntimeError(f"expected a 'cuda' device type for the generator of {func}")
    indexing = func in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)  # CUDA takes CPU indices
    if ours and mixed and not indexing:
        raise RuntimeError(f"expected all tensors on one device: {func} got some on cuda:0 and some on the CPU")
    if wanted is not None and (to_device or wanted == CUDA):
        kwargs = kwargs | {"device": torch.device("cpu")}
    to_cpu = wanted is not None and not to_device
    if _waits(func, args, ours, to_cpu) or _waits_to_send(func, args, kwargs, to_device):
        WAITS.append(str(func))
    if _has_no_order(func, args, ours):
        UNORDERED.append(str(func))
    plain_args, plain_kwargs = tree_map(_unwrap, (args, kwargs))
    out = func(*plain_args, **plain_kwargs)
    if to_cpu:
        return out.clone() if ours and any(out is t.inner for t in ours) else out
    if not ours and not to_device:
        return out
    written = {id(t.inner): t for t in ours}

    def wrap(x: Any) -> Any:
        if not isinstance(x, Tensor) or isinstance(x, Pretended):
            return x
        return written[id(x)] if id(x) in written else Pretended(x)

    return tree_map(wrap, out)


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Function(TorchFunctionMode):
    """Words like "cuda" never reach PyTorch's argument parser, which would look for a driver."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.backward:  # this mode is off in here, but nodes of autograd are to see it
            given = args[1] if len(args) > 1 else (kwargs or {}).get("gradient")
            given = torch.ones_like(args[0]) if given is None else given
            with self:
                return _engine_run_backward((args[0],), (given,), False, False, (), allow_unreachable=True,
                                            accumulate_grad=True)
        kwargs = kwargs or {}
        if func is torch.autograd.grad:
            outputs, inputs = ((x,) if isinstance(x, Tensor) else tuple(x) for x in args[:2])
            given = args[2] if len(args) > 2 else kwargs.get("grad_outputs")
            given = tuple(torch.ones_like(x) for x in outputs) if given is None else given
            given = (given,) if isinstance(given, Tensor) else tuple(given)
            with self:
                return _engine_run_backward(outputs, given, kwargs.get("retain_graph") or False, False, inputs,
                                            kwargs.get("allow_unused") or False, accumulate_grad=False)
        if func is Tensor.pin_memory:
            return args[0]
        if (func is Tensor.new_tensor and isinstance(args[0], Pretended)) or (
                func is torch.tensor and _is_cuda(kwargs.get("device"))):
            WAITS.append("numbers sent from pageable memory")
        if func is Tensor.new_tensor and isinstance(args[0], Pretended):
            return Pretended(torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)))
        if func is torch.tensor and _is_cuda(kwargs.get("device")):
            return Pretended(torch.tensor(*args, **(kwargs | {"device": "cpu"})))
        flat, spec = tree_flatten((args, kwargs))
        flat = [_STAND_IN if isinstance(x, torch.device) and _is_cuda(x) else x for x in flat]
        args, kwargs = tree_unflatten(flat, spec)
        return func(*args, **kwargs)


def read_by_host(name: str, position: int, t: Tensor) -> bool:
    """Whether a kernel takes this argument from the host: the 23 numbers of a camera, the box of a volume."""
    return (t.dtype == torch.float64 and t.shape == (23,)) or (name in ("march_count", "march_write") and position == 3)


def arrived(tensor: Tensor) -> Callable[[], Tensor]:
    """In place of ``cuda.to_host``: the numbers as they are now, which nobody waits for."""
    numbers = (tensor.inner if isinstance(tensor, Pretended) else tensor).detach().clone()
    return lambda: numbers


class InsideOut:
    """A module of drivers that works on the tensors inside; a tensor of the processor among them is an error."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._module, name)
        if not callable(function):
            return function

        def call(*args: Any) -> Any:
            flat, spec = tree_flatten(args)
            for i, t in enumerate(flat):
                if isinstance(t, Tensor) and not isinstance(t, Pretended) and not read_by_host(name, i, t):
                    raise TypeError(f"{name}: a tensor of the processor was given to a CUDA kernel")
            flat = [_unwrap(x) for x in flat]
            return function(*tree_unflatten(flat, spec))

        return call


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Inside, ``tensor.to("cuda")`` gives pretended tensors."""
    with _Dispatch(), _Function():
        yield
