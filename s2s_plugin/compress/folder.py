"""Finished models, read and written anew by the commands of `python -m s2s_plugin`."""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from fairseq import checkpoint_utils

MODEL = "model.pt"


def read_model(path: Path) -> dict:
    """A checkpoint without the optimiser's state and the moving average.

    Raises:
        CheckpointError: `path` is no checkpoint.
        ValueError: it is of another architecture.
    """
    checkpoint_utils.load_checkpoint_to_cpu(str(path))  # refuses what is none, and says why
    state = torch.load(path, map_location="cpu", weights_only=True)
    arch = model_option(state, "arch" if isinstance(state["cfg"]["model"], argparse.Namespace) else "_name")
    if not str(arch).startswith("attn_rnn_"):
        raise ValueError(f"{path}: a model of --arch {arch}; only attn_rnn_s2s and attn_rnn_s2t can be made smaller")
    state["last_optimizer_state"] = None
    state.get("extra_state", {}).pop("ema", None)
    return state


def model_option(state: dict, name: str):
    """An option of the model as the checkpoint holds it, a dictionary or for a preset a Namespace; None if it is not
    there."""
    options = state["cfg"]["model"]
    return getattr(options, name, None) if isinstance(options, argparse.Namespace) else options.get(name)


def set_model_option(state: dict, name: str, value) -> None:
    """Changes an option of the model in a checkpoint."""
    options = state["cfg"]["model"]
    if isinstance(options, argparse.Namespace):
        setattr(options, name, value)
    else:
        options[name] = value


def check_output(output: Path) -> None:
    """Raises ValueError unless the folder is empty or not there."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"--output {output}: there is something; name a new folder")


def rewrite_folder(folder: Path, output: Path, rewrite: Callable[[Path, Path], None]) -> tuple[int, int]:
    """Writes the folder `model` of a recipe anew in `output`. Returns the bytes of its model before and after.

    Args: rewrite, called with model.pt and the file to write in its place; all other files are copied.

    Raises:
        FileNotFoundError: no model.pt.
        ValueError: there is something in `output`; and what `rewrite` raises, after which nothing is left.
    """
    if not (folder / MODEL).is_file():
        raise FileNotFoundError(f"{folder}: there is no {MODEL}; give the folder `model` that a recipe made")
    check_output(output)
    new = output.with_name(output.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        rewrite(folder / MODEL, new / MODEL)
        for file in folder.iterdir():
            if file.is_file() and file.name != MODEL:
                shutil.copy(file, new)
        new.replace(output)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return (folder / MODEL).stat().st_size, (output / MODEL).stat().st_size
