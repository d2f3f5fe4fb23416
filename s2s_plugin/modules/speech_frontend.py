"""From frames of features to what recurrent layers read: strided convolutions, and pairs of steps made one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cells import check_sizes


def halve(lengths: Tensor) -> Tensor:
    """Steps that are left where every other one goes: half, rounded up. Args: lengths (B,) int64."""
    return (lengths + 1) // 2


def padding_mask_of(lengths: Tensor, size: int) -> Tensor:
    """(B, size) bool, True at padding, which stands at the end. Args: lengths (B,) int64."""
    return torch.arange(size, device=lengths.device) >= lengths.unsqueeze(1)


def merge_pairs(x: Tensor, padding_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Puts steps 2s and 2s + 1 side by side (Chan et al. 2016, eq. 5).

    Args:
        x: (B, S, D), 0 at padding, which stands at the end.   padding_mask: (B, S) bool.

    Returns:
        (B, S / 2, 2 D) and its mask; of an odd number of steps the last one has zeros beside it.
    """
    if x.size(1) % 2:
        x, padding_mask = F.pad(x, (0, 0, 0, 1)), F.pad(padding_mask, (0, 1), value=True)
    return x.reshape(x.size(0), -1, 2 * x.size(2)), padding_mask[:, ::2]


class ConvolutionalFrontEnd(nn.Module):
    """3 x 3 convolutions over time and frequency, of stride 2 in both, with a ReLU behind each (after Zhang, Chan and
    Jaitly 2017, sec. 2.1; Berard et al. 2018, sec. 3.2).

    What is past the end of a recording counts as 0 in every layer, so that padding changes nothing.

    Args:
        input_size: F, bands or coefficients of a frame.
        channels: C of each layer.

    Attributes:
        output_size: E, channels of the last layer times the bands that are left.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, *, input_size: int, channels: list[int]):
        super().__init__()
        check_sizes(input_size=input_size, **{f"channels of layer {k}": size for k, size in enumerate(channels, 1)})
        sizes = [1, *channels]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1)
            for before, after in zip(sizes, sizes[1:], strict=False)
        )
        bands = input_size
        for _ in channels:
            bands = (bands + 1) // 2
        self.output_size = sizes[-1] * bands

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Args: frames (B, N, F), whatever at padding, which stands at the end; lengths (B,) int64.

        Returns:
            (B, S, E), 0 at padding, S the half of N once a layer, rounded up; and lengths (B,) in these steps.
        """
        x = frames.unsqueeze(1)
        x = x.masked_fill(padding_mask_of(lengths, x.size(2))[:, None, :, None], 0.0)
        for layer in self.layers:
            x, lengths = F.relu(layer(x)), halve(lengths)
            x = x.masked_fill(padding_mask_of(lengths, x.size(2))[:, None, :, None], 0.0)
        return x.transpose(1, 2).flatten(2), lengths
