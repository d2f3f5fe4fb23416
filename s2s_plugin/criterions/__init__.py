"""The criterion `attn_label_smoothed_cross_entropy`."""

from . import label_smoothed_cross_entropy  # noqa: F401
