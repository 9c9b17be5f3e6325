"""Muon, an optimiser: the momentum of each matrix is orthogonalised, so a step is equally large in all its directions.

K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the factor that makes steps as large
as AdamW's is from J. Liu et al., "Muon is scalable for LLM training", 2025. torch has Muon only for matrices; this one
also takes weights of 1x1 convolutions, and orthogonalises all of one shape at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""The number of Newton–Schulz iterations, and the coefficients of their quintic (Jordan). Singular values end between
about 0.7 and 1.2."""

ADAMW_RMS = 0.2
"""The usual root mean square of AdamW's steps, in learning rates."""


class Muon(torch.optim.Optimizer):
    """For weights of two or more dimensions, as matrices (first dimension, all others).

    Like torch's fused optimisers, it takes no step if `found_inf`, a tensor, is not zero. So the program need not wait
    for the device to know whether the gradients are finite.
    """

    found_inf: Tensor | None = None

    def __init__(self, parameters: Iterable[Any], learning_rate: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": learning_rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("Muon takes its gradients from `backward`, not from a closure")
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = torch.add(parameter.grad, state["momentum"], alpha=group["momentum"])
                matrix = parameter.grad.add(momentum, alpha=group["momentum"]).flatten(1)
                state["momentum"].copy_(self._unless_found(momentum, state["momentum"]))
                by_shape.setdefault((matrix.shape[0], matrix.shape[1]), []).append((parameter, matrix))
            for shape, items in by_shape.items():
                rate = group["lr"] * ADAMW_RMS * max(shape) ** 0.5
                for (parameter, _), step in zip(items, orthogonalised([m for _, m in items]), strict=True):
                    parameter.sub_(
                        self._unless_found(step, torch.zeros_like(step)).reshape(parameter.shape), alpha=rate
                    )

    def _unless_found(self, new: Tensor, old: Tensor) -> Tensor:
        return new if self.found_inf is None else torch.where(self.found_inf > 0, old, new)


def orthogonalised(matrices: list[Tensor]) -> Tensor:
    """(count, rows, columns) float32: approximately the nearest matrices with orthonormal rows or columns."""
    stacked = torch.stack(matrices)
    x = stacked / stacked.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    x = x.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    result: Tensor = (x.mT if tall else x).float()
    return result
