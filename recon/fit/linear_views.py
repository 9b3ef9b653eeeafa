"""The loss of several views near one point: gradient, diagonal, products with J^T W J, and what preconditions them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recon.protocols import Linear

if TYPE_CHECKING:
    from recon.fit.second_order import ViewsProblem


class LinearViews:
    """Implements Linearisation: gradient, diagonal and products, summed over the views in their order."""

    def __init__(self, problem: ViewsProblem, tested: Sequence[int], blocks: bool = False) -> None:
        self.problem = problem
        self.blocks: Any = None  # of the first picture's kind
        self.groups = tuple(chain((problem.field.params[n].numel() for n in problem.names),
                                  *(block.groups for block in problem.own)))
        self._share = 1.0 / len(problem.views)
        on = problem.field.params.device
        self.gradient, self.diagonal = (torch.zeros(sum(self.groups), device=on) for _ in range(2))
        g, diagonal = problem.split(self.gradient), problem.split(self.diagonal)
        self._kept: dict[int, tuple[Linear, Tensor]] = {}
        self._scale = len(problem.views) / len(problem.curved)
        problem.passes.count += len(problem.views)
        free, tested_values = problem.memory, {}
        for view in problem.views:
            seen = problem.observe(view)
            picture = problem.draw(seen)
            value, u, weights = problem.curvature(picture.picture, seen)
            weights = weights * self._share
            picture.vjp_(u * self._share, g)
            if blocks and self.blocks is None and hasattr(picture, "blocks"):
                self.blocks = picture.blocks()
            if self.blocks is None:
                picture.diagonal_(weights, diagonal)
            else:
                picture.diagonal_(weights, diagonal, self.blocks.values)
            tested_values[view] = value
            for block in problem.own:
                block.add(view, picture, u * self._share, weights)
                if view in problem.curved:
                    free -= block.keep(view, picture, free)
            if view not in problem.curved:
                continue
            free -= picture.nbytes + weights.numel() * 4
            if free >= 0:
                self._kept[view] = (picture, weights)
        problem.redrawn = len(problem.curved) - len(self._kept)
        if problem.redrawn:
            message = (f"the memory budget holds {len(self._kept)} of {len(problem.curved)} linearised photos; "
                       "the others are drawn again for every product, which is slower")
            if not any("linearised photos" in w for w in problem.warned):
                problem.warnings.append(message)
                problem.warned.append(message)
        of_gradient, of_diagonal = problem.parts_of_views(self.gradient), problem.parts_of_views(self.diagonal)
        for block, by_x, squares in zip(problem.own, of_gradient, of_diagonal, strict=True):
            by_x.copy_(block.gradient())
            squares.copy_(block.diagonal())
        self.value = problem.checked(sum(tested_values[v] for v in tested) / len(tested))

    def product(self, v: Tensor) -> Tensor:
        out = torch.zeros_like(v)
        to, along = self.problem.split(out), self.problem.split(v)
        self.problem.passes.count += len(self.problem.curved)
        if self.problem.own:
            return self._product_with_views(v, out, along, to)
        for view in self.problem.curved:
            picture, weights = self._picture(view)
            picture.normal_(along, weights, to)
        return out.mul_(self._scale)

    def _picture(self, view: int) -> tuple[Linear, Tensor]:
        if view in self._kept:
            return self._kept[view]
        seen = self.problem.observe(view)
        picture = self.problem.draw(seen)
        return picture, self.problem.curvature(picture.picture, seen)[2] * self._share

    def _product_with_views(self, v: Tensor, out: Tensor, along: list[Tensor], to: list[Tensor]) -> Tensor:
        """The scene and what views have for themselves are coupled in the curved views. What a view has for itself is
        seen by it alone, so its part is never scaled; in the other views the kinds count apart from each other."""
        own, parts = self.problem.own, self.problem.parts_of_views(v)
        results = self.problem.parts_of_views(out)
        for block, part, result in zip(own, parts, results, strict=True):
            result.copy_(block.product(part))
        for view in self.problem.curved:
            picture, weights = self._picture(view)
            by_scene = picture.jvp(along)
            by_view = torch.zeros_like(by_scene)
            for block, part in zip(own, parts, strict=True):
                by_view += block.jvp(view, picture, part)
            picture.vjp_(weights * (self._scale * by_scene + by_view), to)
            for block, result in zip(own, results, strict=True):
                block.vjp_(view, picture, weights * (by_scene + by_view), result)
        return out

    def inverse(self, added: Tensor) -> Tensor | Callable[[Tensor], Tensor]:
        """By blocks of what views have for themselves and, where asked for, of single primitives; else the diagonal."""
        problem = self.problem
        if self.blocks is None and not problem.own:
            return 1.0 / (self.diagonal + added)
        multiply_ = None
        if self.blocks is not None:
            multiply_ = self.blocks.inverse(problem.split(added), problem.split(self.diagonal))
        added_to_views = problem.parts_of_views(added)

        def precondition(r: Tensor) -> Tensor:
            z = r.clone()
            if multiply_ is None:
                z /= self.diagonal + added
            else:
                multiply_(problem.split(z))
            parts = zip(problem.own, added_to_views, problem.parts_of_views(z), problem.parts_of_views(r), strict=True)
            for block, more, part, given in parts:
                part.copy_(block.solve(more, given))
            return z

        return precondition
