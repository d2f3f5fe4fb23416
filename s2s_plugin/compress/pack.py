"""A finished model that was pruned, stored small: `python -m s2s_plugin pack --model FOLDER --output FOLDER`.

fairseq-generate, `Translator` and fairseq-interactive read the folder like any other, and give the same translations,
since `ops/sparse.py` keeps every value. A model in eight bits can be packed as well.
"""

from pathlib import Path

from ..ops.sparse import is_packed, pack_state
from ..saving import save_in_one_step
from .folder import read_model


def pack_checkpoint(path: Path, output: Path) -> None:
    """Writes the model of a checkpoint with its zeros left out, without the optimiser's state.

    Raises:
        CheckpointError: `path` is no checkpoint.
        ValueError: it is of another architecture, packed already, or has no matrix with zeros to leave out.
    """
    state = read_model(path)
    if is_packed(state["model"]):
        raise ValueError(f"{path}: is packed already")
    state["model"] = pack_state(state["model"])
    if not is_packed(state["model"]):
        raise ValueError(f"{path}: has no matrix with zeros to leave out: train it with --prune-target")
    save_in_one_step(state, output)
