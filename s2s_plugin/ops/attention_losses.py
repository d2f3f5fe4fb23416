"""What attention is trained by beside the words: coverage and guided alignment."""

import torch
from torch import Tensor

ALIGNMENT_LOSSES = ("cross_entropy", "squared_error")


def coverage_loss(attn: Tensor, real: Tensor) -> Tensor:
    """How much is read again: sum over t and s of min(attn[t, s], coverage[t, s]) (See, Liu and Manning 2017, eq. 12).

    The coverage is the sum of the weights of the steps before.

    Args:
        attn: (B, T, S).   real: (B, T) bool, False at padding of the target.

    Returns:
        A scalar: between 0 and 1 for every real step.
    """
    coverage = attn.cumsum(dim=1) - attn
    return (torch.minimum(attn, coverage).sum(dim=2) * real).sum()  # to pick rows, a GPU would have to be waited for


def alignment_loss(attn: Tensor, links: Tensor, weights: Tensor, kind: str) -> Tensor:
    """How far the attention of linked target words is from their links (Chen et al. 2016, eq. 8 and 9).

    A target word's gold weights are alike on all source words that it is linked with, and 0 elsewhere; words without a
    link count nothing. `cross_entropy` (that of Garg et al. 2019, eq. 2, too) is the sum of -gold log attn,
    `squared_error` that of (gold - attn)^2.

    Args:
        attn: (B, T, S).
        links: (L, 2) int64, position in the source and b T + t, as fairseq's datasets give them.
        weights: (L,), 1 / number of links of the target word.
        kind: of `ALIGNMENT_LOSSES`.

    Returns:
        A scalar, in nats for `cross_entropy`.

    Raises:
        ValueError: unknown kind.
    """
    check_alignment_loss(kind)
    attn = attn.flatten(0, 1)
    source, target = links.unbind(1)
    if kind == "cross_entropy":
        return -(attn[target, source].clamp_min(torch.finfo(attn.dtype).tiny).log() * weights).sum()
    gold = torch.zeros_like(attn).index_put((target, source), weights.to(attn.dtype), accumulate=True)
    is_linked = gold.sum(dim=1, keepdim=True) > 0
    return (gold - attn).square().mul(is_linked).sum()


def check_alignment_loss(kind: str) -> None:
    """Raises ValueError unless `kind` is one of `ALIGNMENT_LOSSES`."""
    if kind not in ALIGNMENT_LOSSES:
        raise ValueError(f"unknown alignment loss {kind!r}: choose from {', '.join(ALIGNMENT_LOSSES)}")
