"""RNN encoder-decoders with additive attention for fairseq: give this folder as `--user-dir`."""

__version__ = "0.2.0"

from .quiet_import import nothing_changed

with nothing_changed():
    from . import checkpoints, criterions, fairseq_patches, scoring  # noqa: F401
    from .models import attn_rnn_s2s, attn_rnn_s2t  # noqa: F401
    from .tasks import attn_translation  # noqa: F401
    from .translator import Hypothesis, Translation, Translator  # noqa: F401

    checkpoints.allow_for_torch()
    fairseq_patches.install()
