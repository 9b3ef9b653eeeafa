"""What a second-order problem asks of unknowns that views have for themselves: poses, colour maps."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class ViewBlock(Protocol):
    """Unknowns that a view has for itself, as a part of x: all of one kind, of all views.

    What they share with the scene and with each other goes through the pictures of the views, in ``jvp`` and ``vjp_``.
    """

    @property
    def groups(self) -> tuple[int, ...]:
        """Lengths of consecutive parts that have units of their own."""
        ...

    def rebase(self) -> None:
        """x counts from the present values; what was added is forgotten."""
        ...

    def add(self, view: int, picture: Any, gradient: Tensor, weights: Tensor) -> None: ...

    def keep(self, view: int, picture: Any, free: int) -> int:
        """Keeps what products need again, if ``free`` bytes suffice: how many it took."""
        ...

    def jvp(self, view: int, picture: Any, v: Tensor) -> Tensor: ...

    def vjp_(self, view: int, picture: Any, u: Tensor, out: Tensor) -> None: ...

    def read(self) -> Tensor: ...

    def write(self, x: Tensor) -> None: ...

    def gradient(self) -> Tensor: ...

    def diagonal(self) -> Tensor: ...

    def product(self, v: Tensor) -> Tensor:
        """J^T W J v of all views, without what they share with other unknowns."""
        ...

    def solve(self, added: Tensor, r: Tensor) -> Tensor:
        """The inverse of that matrix with ``added`` on its diagonal, times r."""
        ...
