"""Layer normalisation, forward and backward, for a loop over time that collects the gradients of gain and bias."""

import torch
from torch import Tensor

EPSILON = 1e-5


class LayerNorm:
    """`reference.layer_norm` with a gain: blocks of columns are normalised, scaled and shifted.

    Args:
        gain: (N,).   bias: (N,) or None.
        size: columns of a block, a divisor of N.
    """

    def __init__(self, gain: Tensor, bias: Tensor | None, size: int):
        self.gain, self.size = gain, size
        self.bias = torch.zeros_like(gain) if bias is None else bias

    def forward(self, x: Tensor):
        """Args: x (B, N). Returns y (B, N); and for `backward` the blocks normalised (B, N) and 1 / deviation."""
        blocks = x.reshape(-1, self.size)
        normal, _, scale = torch.native_layer_norm(blocks, (self.size,), None, None, EPSILON)
        normal = normal.view(x.shape)
        return torch.addcmul(self.bias, normal, self.gain), normal, scale

    def start_backward(self, x: Tensor) -> None:
        """Clears what `backward` collects over all steps. Args: x (B, N) for the shape."""
        self.d_gain, self.d_bias = torch.zeros_like(x), torch.zeros_like(x)

    def backward(self, d_y: Tensor, normal: Tensor, scale: Tensor) -> Tensor:
        """Args: d_y (B, N), and what `forward` gave. Returns d_x (B, N)."""
        self.d_gain.addcmul_(d_y, normal)
        self.d_bias += d_y
        # torch's operator on the normalised blocks, whose mean is 0 and whose deviation is 1; the scale comes after it.
        d_blocks, blocks = (d_y * self.gain).view(-1, self.size), normal.view(-1, self.size)
        d_blocks, _, _ = torch.ops.aten.native_layer_norm_backward(
            d_blocks, blocks, (self.size,), torch.zeros_like(scale), torch.ones_like(scale), None, None,
            (True, False, False),
        )  # fmt: skip
        return d_blocks.mul_(scale).view(d_y.shape)

    def finish(self):
        """Returns d_gain (N,) and d_bias (N,)."""
        return self.d_gain.sum(dim=0), self.d_bias.sum(dim=0)
