"""A finished model with its matrices in eight bits: about a quarter of the file, faster to translate with on a CPU.

`python -m s2s_plugin quantize --model FOLDER --output FOLDER` writes a folder that fairseq-generate, `Translator` and
fairseq-interactive read like any other. Its settings say `--compute-dtype int8`, so that the products are of eight bits
too: see `ops/int8.py`.
"""

import argparse
import shutil
from pathlib import Path

import torch
from fairseq import checkpoint_utils

from ..ops.int8 import SCALE, quantize_state

MODEL = "model.pt"


def quantize_checkpoint(path: Path, output: Path) -> None:
    """Writes the model of a checkpoint in eight bits, without the optimiser's state.

    Raises:
        CheckpointError: `path` is no checkpoint.
        ValueError: it is of another architecture, or in eight bits already.
    """
    checkpoint_utils.load_checkpoint_to_cpu(str(path))  # refuses what is none, and says why
    state = torch.load(path, map_location="cpu", weights_only=True)
    settings = state["cfg"]["model"]
    is_namespace = isinstance(settings, argparse.Namespace)
    arch = getattr(settings, "arch", "") if is_namespace else settings.get("_name", "")
    if not str(arch).startswith("attn_rnn_"):
        raise ValueError(f"{path}: a model of --arch {arch}; only attn_rnn_s2s and attn_rnn_s2t can be quantised")
    if any(name.endswith(SCALE) for name in state["model"]):
        raise ValueError(f"{path}: is in eight bits already")
    if is_namespace:
        settings.compute_dtype = "int8"
    else:
        settings["compute_dtype"] = "int8"
    state.update(model=quantize_state(state["model"]), last_optimizer_state=None)
    state.get("extra_state", {}).pop("ema", None)
    torch.save(state, output)


def quantize_folder(folder: Path, output: Path) -> tuple[int, int]:
    """Writes the folder `model` of a recipe anew in `output`, its model in eight bits. Returns bytes before and after.

    Raises:
        FileNotFoundError: no model.pt.
        ValueError: there is something in `output`; and what `quantize_checkpoint` raises.
    """
    if not (folder / MODEL).is_file():
        raise FileNotFoundError(f"{folder}: there is no {MODEL}; give the folder `model` that a recipe made")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"--output {output}: there is something; name a new folder")
    new = output.with_name(output.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        quantize_checkpoint(folder / MODEL, new / MODEL)
        for file in folder.iterdir():
            if file.is_file() and file.name != MODEL:
                shutil.copy(file, new)
        new.replace(output)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return (folder / MODEL).stat().st_size, (output / MODEL).stat().st_size
