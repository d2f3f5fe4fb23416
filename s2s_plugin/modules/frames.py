"""Where the real tokens of a padded batch stand, and the permutations between frames.

A *frame* is an arrangement of each row: the caller's (padding on either side), flush left (the sentence, then padding)
and reversed (the sentence from its last word to its first, then padding). Recurrent layers run in the latter two, where
padding comes after every real token and cannot reach it.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Frames(NamedTuple):
    """Permutations of the positions of each row, (B, S) int64, for `ops.permute.permute_time`.

    Attributes:
        to_left: from the caller's frame to the flush-left one.
        from_left: its inverse.
        reverse: from the caller's frame to the reversed one; it is its own inverse.
        lengths: (B,) int64, real tokens of each row.
    """

    to_left: Tensor
    from_left: Tensor
    reverse: Tensor
    lengths: Tensor


def build_frames(padding_mask: Tensor) -> Frames:
    """Frames of a batch whose rows each hold one run of real tokens, wherever it stands. Waits for no device.

    Args:
        padding_mask: (B, S) bool, True at padding.
    """
    size = padding_mask.size(1)
    real = ~padding_mask
    lengths = real.sum(dim=1)
    start = real.to(torch.uint8).argmax(dim=1, keepdim=True)
    position = torch.arange(size, device=padding_mask.device).unsqueeze(0)
    # A tensor, since ONNX has no remainder of a number that is not known yet.
    size = torch.full_like(position, size)
    to_left = (position + start) % size
    from_left = (position - start) % size
    reverse = (start + lengths.unsqueeze(1) - 1 - position) % size
    return Frames(to_left, from_left, reverse, lengths)
