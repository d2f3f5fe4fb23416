"""What a read knows of where it read before, as numbers for each position, and the way back.

The equations are those of `reference.additive_attention`; the derivation is in README.md.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .products import linear, matmul


class Past(NamedTuple):
    """Where was read before a step.

    Attributes:
        coverage: (B, S), sums of all weights before.   attn: (B, S), the weights of the step before. Each None where
            the read does not know it.
    """

    coverage: Tensor | None
    attn: Tensor | None

    def after(self, attn: Tensor) -> "Past":
        """What a step of the weights attn (B, S) leaves."""
        return Past(
            None if self.coverage is None else self.coverage + attn,
            None if self.attn is None else attn.to(self.attn.dtype),
        )

    def before(self, d_past: "Past") -> "Past":
        """Of gradients: those of the past of a step, from these, that reach the past that it leaves, and `d_past` (of
        the step itself)."""
        return Past(None if self.coverage is None else self.coverage + d_past.coverage, d_past.attn)


class History:
    """Features of the past, K for each position: [coverage; filters * attn], each where the read knows it.

    Args:
        w_coverage: (A,) or None.   filters: (K, W), W odd, and w_location: (A, K), or None.
    """

    def __init__(self, w_coverage: Tensor | None, filters: Tensor | None, w_location: Tensor | None):
        self.has_coverage, self.filters = w_coverage is not None, filters
        columns = [w_coverage.unsqueeze(1)] if self.has_coverage else []
        columns += [] if filters is None else [w_location]
        # (A, K), how the features enter the energies; None for a read that knows nothing of the past.
        self.weight = torch.cat(columns, dim=1) if columns else None

    def __bool__(self) -> bool:
        return self.weight is not None

    def features(self, past: Past) -> Tensor:
        """Args: past of B sentences. Returns (B, S, K), in the dtype of the weights."""
        parts = [past.coverage.to(self.weight.dtype).unsqueeze(2)] if self.has_coverage else []
        if self.filters is not None:
            parts.append(linear(self._windows(past.attn), self.filters).view(*past.attn.shape, self.filters.size(0)))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def _windows(self, attn: Tensor) -> Tensor:
        """(B*S, W), the weights around each position, 0 outside of the sentence. Args: attn (B, S)."""
        width = self.filters.size(1)
        return F.pad(attn.to(self.filters.dtype), (width // 2, width // 2)).unfold(1, width, 1).reshape(-1, width)

    def start_backward(self, dtype: torch.dtype) -> None:
        """Clears what `backward` collects."""
        self.d_filters = None if self.filters is None else torch.zeros_like(self.filters, dtype=dtype)

    def backward(self, d_features: Tensor, past: Past) -> Past:
        """Args: d_features (B, S, K), past as `features` had it. Returns the gradients of the past."""
        d_coverage = d_attn = None
        if self.has_coverage:
            d_coverage, d_features = d_features[:, :, 0].to(past.coverage.dtype), d_features[:, :, 1:]
        if self.filters is not None:
            self.d_filters += matmul(d_features.flatten(0, 1).t(), self._windows(past.attn))
            # A position was seen from the places around it, through the filters the other way round.
            around = self.filters.flip(1).unsqueeze(0)
            with torch.autocast(d_features.device.type, enabled=False):
                d_attn = F.conv1d(d_features.transpose(1, 2), around, padding=self.filters.size(1) // 2)
            d_attn = d_attn.squeeze(1).to(past.attn.dtype)
        return Past(d_coverage, d_attn)

    def finish(self, d_weight: Tensor) -> tuple:
        """Args: d_weight (K, A), of all steps. Returns d_w_coverage, d_filters, d_w_location, or None for each."""
        d_w_coverage = d_weight[0] if self.has_coverage else None
        if self.filters is None:
            return d_w_coverage, None, None
        return d_w_coverage, self.d_filters, d_weight[int(self.has_coverage) :].t()


def pasts(start: Past, attns: Tensor) -> list[Past]:
    """The past of each of T steps. Args: start, of the first; attns (T, B, N, S)."""
    coverages = before = [None] * len(attns)
    if start.coverage is not None:
        earlier = attns[:-1].mean(dim=2).cumsum(dim=0)
        coverages = torch.cat([start.coverage.unsqueeze(0), start.coverage + earlier]).to(start.coverage.dtype)
    if start.attn is not None:
        before = torch.cat([start.attn.unsqueeze(0), attns[:-1].mean(dim=2).to(start.attn.dtype)])
    return [Past(*both) for both in zip(coverages, before, strict=True)]
