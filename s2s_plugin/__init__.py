"""RNN encoder-decoders with additive attention for fairseq: give this folder as `--user-dir`."""

__version__ = "0.2.0"

import logging

logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)  # its advice is nobody's here

from . import checkpoints, criterions, fairseq_patches, scoring  # noqa: E402, F401
from .models import attn_rnn_s2s, attn_rnn_s2t  # noqa: E402, F401
from .tasks import attn_translation  # noqa: E402, F401
from .translator import Hypothesis, Translation, Translator  # noqa: E402, F401

checkpoints.allow_for_torch()
fairseq_patches.install()
