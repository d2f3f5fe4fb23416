"""A finished model with its matrices in eight bits: about a quarter of the file, faster to translate with on a CPU.

`python -m s2s_plugin quantize --model FOLDER --output FOLDER` writes a folder that fairseq-generate, `Translator` and
fairseq-interactive read like any other. Its settings say `--compute-dtype int8`, so that the products are of eight bits
too where that is fast: see `ops/int8.py` and `ops/arithmetic.py`. A packed model stays packed.
"""

from pathlib import Path

from ..ops.int8 import SCALE, quantize_state
from ..ops.sparse import is_packed, pack_state, unpack_state
from ..saving import save_in_one_step
from .folder import options_of, read_model


def quantize_checkpoint(path: Path, output: Path) -> None:
    """Writes the model of a checkpoint in eight bits, without the optimiser's state.

    Raises:
        CheckpointError: `path` is no checkpoint.
        ValueError: it is of another architecture, or in eight bits already.
    """
    state = read_model(path)
    if any(name.endswith(SCALE) for name in state["model"]):
        raise ValueError(f"{path}: is in eight bits already")
    options_of(state, "model")["compute_dtype"] = "int8"
    small = quantize_state(unpack_state(state["model"]))
    state["model"] = pack_state(small) if is_packed(state["model"]) else small
    save_in_one_step(state, output)
