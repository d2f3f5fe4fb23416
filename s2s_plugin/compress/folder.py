"""Finished models, read and written anew by the commands of `python -m s2s_plugin`."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..checkpoints import read_checked
from ..folder import MODEL, SUMS, check_folder, is_of_model, leads_out, write_sums
from ..saving import NO_ROOM, SaveError, sync_files, sync_folder


def read_model(path: Path) -> dict:
    """A checkpoint without the optimiser's state and the moving average.

    Raises:
        CheckpointError: `path` is no checkpoint.
        ValueError: it is of another architecture.
    """
    state = read_checked(path)
    if not isinstance(state.get("cfg"), dict):
        raise ValueError(f"{path}: holds no settings in the form of fairseq 0.12")
    options = options_of(state, "model")
    arch = options.get("arch") or options.get("_name")
    if not str(arch).startswith("attn_rnn_"):
        raise ValueError(f"{path}: a model of --arch {arch}; only attn_rnn_s2s and attn_rnn_s2t can be made smaller")
    state["last_optimizer_state"] = None
    state.get("extra_state", {}).pop("ema", None)
    return state


def options_of(state: dict, part: str) -> dict:
    """The options of `model` or `task` in a checkpoint, which holds a dictionary or for a preset a Namespace.

    What is set in it is set in the checkpoint.
    """
    options = state["cfg"].get(part) or {}
    return options if isinstance(options, dict) else vars(options)


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Context that gives a folder to fill, which takes the place of `output` at its end, with sums of its files; an
    error leaves nothing.

    Raises:
        ValueError: there is something in `output`.
        SaveError: there is no room for it.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"--output {output}: there is something; name a new folder")
    new = output.with_name(output.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        write_sums(new)
        sync_files(new)
        new.replace(output)
        sync_folder(output.parent)
    except OSError as error:
        if isinstance(error, SaveError) or error.errno not in NO_ROOM:
            raise
        raise SaveError(output, error) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def rewrite_folder(folder: Path, output: Path, rewrite: Callable[[Path, Path], None]) -> tuple[int, int]:
    """Writes the folder `model` of a recipe anew in `output`. Returns the bytes of its model before and after.

    Args: rewrite, called with model.pt and the file to write in its place; all other files are copied, but for links
        out of the folder that are no part of a model.

    Raises:
        FileNotFoundError: no model.pt.
        ValueError: there is something in `output`, or what `check_folder` and `rewrite` raise; then nothing is left.
    """
    if not (folder / MODEL).is_file():
        raise FileNotFoundError(f"{folder}: there is no {MODEL}; give the folder `model` that a recipe made")
    check_folder(folder)
    with new_folder(output) as new:
        rewrite(folder / MODEL, new / MODEL)
        for file in folder.iterdir():
            is_copied = is_of_model(file.name) or not leads_out(file)
            if file.is_file() and is_copied and file.name not in (MODEL, SUMS):
                shutil.copy(file, new)
    return (folder / MODEL).stat().st_size, (output / MODEL).stat().st_size
