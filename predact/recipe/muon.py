"""Muon (Jordan et al. 2024): momentum, made orthogonal, for the matrices inside a network."""

from __future__ import annotations

from collections import defaultdict

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """As `torch.optim.Muon` with Nesterov's momentum and the root mean square of AdamW, but in the weights' precision.

    PyTorch's own always computes in bfloat16, which takes ten times as long on a CPU without instructions for it.
    Matrices of one shape are made orthogonal together.
    """

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        """Take the matrices.

        Args:
            params: the matrices.
            lr: learning rate, as AdamW's: an update's root mean square is a fifth of it.
            momentum: of the gradients.
            weight_decay: decoupled.
        """
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step."""
        for group in self.param_groups:
            shapes = defaultdict(list)
            for each in group["params"]:
                if each.grad is not None:
                    kept = self.state[each].setdefault("momentum", torch.zeros_like(each))
                    kept.lerp_(each.grad, 1 - group["momentum"])
                    shapes[tuple(each.shape)].append((each, each.grad.lerp(kept, group["momentum"])))
            for (rows, columns), pairs in shapes.items():
                updates = orthogonal(torch.stack([update for _, update in pairs]))
                rate = 0.2 * max(rows, columns) ** 0.5 * group["lr"]
                for (each, _), update in zip(pairs, updates, strict=True):
                    each.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Roughly the nearest orthogonal matrix to each of ``[matrices, rows, columns]``, by Newton and Schulz.

    With X = U S V', five iterations bring all singular values S near 1 (0.7 to 1.2) and leave U and V.
    """
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if matrices.shape[1] <= matrices.shape[2] else wide.mT
