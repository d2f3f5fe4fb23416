"""What of fairseq this package replaces, in one table: the fault, the versions that have it, the test that shows it.

A replacement takes the place of a function of fairseq for the whole process, once, when the package is imported.
`install()` goes through `PATCHES`; a patch whose `name` a later fairseq no longer has is an error of this table, not of
the user, so that a test compares the two.
"""

import builtins
import contextlib
import functools
import importlib
import os
import re
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from omegaconf import OmegaConf

from .checkpoints import TorchWithSafeLoad, build_within_sizes, load_within_sizes, name_the_file
from .literals import read_literal
from .memory import bound_caches, bound_heap, leave_out_compiler
from .saving import NO_ROOM, SaveError, copy_whole, link_in_one_step, save_in_one_step


class Patch(NamedTuple):
    """One replacement.

    Attributes:
        name: what is replaced, with its module: `fairseq.checkpoint_utils.load_checkpoint_to_cpu`.
        replace: makes the replacement of the former function.
        fault: what fairseq does wrong.
        since: the versions that do it, of those that import on Python 3.11: `all`, from 0.12.3 on.
        test: the file and test that fails without the replacement.
    """

    name: str
    replace: Callable
    fault: str
    since: str
    test: str


def save_whole(save):
    """Wraps `save(obj, filename, async_write)` so that each attempt writes a file anew, beside the old one."""

    @functools.wraps(save)
    def save_beside(obj, filename, async_write=False):
        if async_write or not PathManager.supports_rename(filename):
            return save(obj, filename, async_write)
        for seconds in (2.5, 2.5, None):
            try:
                return save_in_one_step(obj, filename)
            except SaveError as error:
                if seconds is None or error.errno in NO_ROOM:
                    raise
                time.sleep(seconds)

    return save_beside


def copy_in_one_step(copy):
    """Wraps `copy(src_path, dst_path, ...)`: a checkpoint gets a second name in its folder, and else a copy is made.

    So one that could be written has all its names, however full the disk is; a kill leaves the old file or the new one.
    """

    @functools.wraps(copy)
    def link_or_copy(src_path, dst_path, *args, **kwargs):
        if PathManager.path_requires_pathmanager(src_path) or PathManager.path_requires_pathmanager(dst_path):
            return copy(src_path, dst_path, *args, **kwargs)
        if os.path.dirname(src_path) == os.path.dirname(dst_path):
            with contextlib.suppress(OSError):  # a file system without links
                link_in_one_step(src_path, dst_path)
                return True
        copy_whole(src_path, dst_path)
        return True

    return link_or_copy


def say_in_a_line(call_main):
    """Wraps `call_main(cfg, main)`, in which the commands run: one that cannot save ends with a line for people."""

    @functools.wraps(call_main)
    def call_or_say(*args, **kwargs):
        try:
            return call_main(*args, **kwargs)
        except SaveError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    return call_or_say


def broadcast_plainly(broadcast):
    """Wraps fairseq's `broadcast_object(obj, ...)`, by which a resumed training reaches its other processes.

    They read what they are sent as carefully as a file; the settings, an omegaconf object, go as a plain dictionary.
    """

    @functools.wraps(broadcast)
    def broadcast_plain(obj, *args, **kwargs):
        if isinstance(obj, dict) and OmegaConf.is_config(obj.get("cfg")):
            obj = dict(obj, cfg=OmegaConf.to_container(obj["cfg"], resolve=True, enum_to_str=True))
        with torch.serialization.safe_globals([distributed_utils._TensorPlaceholder]):
            return broadcast(obj, *args, **kwargs)

    return broadcast_plain


def name_in_the_folder(vocabulary):
    """Wraps the property `S2TDataConfig.vocab_filename`, so that a config.yaml names no dictionary elsewhere."""

    def vocab_filename(self) -> str:
        name = vocabulary.fget(self)
        if os.path.isabs(name) or ".." in re.split(r"[/\\]", name):
            raise ValueError(f"config.yaml: vocab_filename {name!r} is outside the folder of the data")
        return name

    return property(vocab_filename)


def bound_memory(build):
    """Wraps a task's `build_model(cfg, from_checkpoint)`: with a new model a training starts, and nothing else does.

    Building it may already form products, which fix the capacity of the caches.
    """

    @functools.wraps(build)
    def build_in_bounds(self, cfg, from_checkpoint=False):  # fairseq looks for this name
        if not from_checkpoint:
            bound_caches()
            bound_heap()
            leave_out_compiler()
        return build(self, cfg, from_checkpoint)

    return build_in_bounds


def check_recordings(init):
    """Wraps `SpeechToTextDataset.__init__` so that a manifest names recordings below the folder of the data or, where
    config.yaml has one, its `audio_root`, and no others.

    What counts is the name: a folder of recordings may well be a link to another disk.
    """

    @functools.wraps(init)
    def init_checked(self, split, is_train_split, cfg, audio_paths, *args, **kwargs):
        roots = [os.path.abspath(root) for root in (cfg.root, cfg.audio_root) if root]
        for path in audio_paths:
            # fairseq takes a relative name without an `audio_root` from the working directory.
            homes = roots if cfg.audio_root or os.path.isabs(path) else [*roots, os.getcwd()]
            if not any(os.path.abspath(path).startswith(os.path.join(home, "")) for home in homes):
                raise ValueError(
                    f"{cfg.root}/{split}.tsv: {path!r} is outside {' and '.join(homes)}; the line audio_root in "
                    "config.yaml names the folder of recordings"
                )
        return init(self, split, is_train_split, cfg, audio_paths, *args, **kwargs)

    return init_checked


EVALUATING = (
    "criterions.ctc data.audio.raw_audio_dataset data.codedataset models.fconv models.fconv_lm models.fconv_self_att "
    "models.hubert.hubert models.lightconv_lm models.multires_hubert.multires_hubert "
    "models.speech_to_text.s2t_wav_transformer models.transformer_lm models.wav2vec.wav2vec models.wav2vec.wav2vec2 "
    "optim.adafactor optim.adam optim.adamax optim.cpu_adam optim.fused_lamb utils"
).split()
"""Modules of fairseq that call Python's `eval` on a setting or on a line of a file."""


PATCHES = [
    *(
        Patch(
            f"fairseq.{module}.eval",
            lambda evaluate: read_literal,
            "a setting, which may come out of a file, is run as Python; its own are literals",
            "all",
            "tests/test_hostile_settings.py::test_what_fairseq_evaluates_is_read_as_a_literal",
        )
        for module in EVALUATING
    ),
    Patch(
        "fairseq.checkpoint_utils.torch",
        TorchWithSafeLoad,
        "torch.load without weights_only, which before 2.6 ran what a file said and since refuses fairseq's own",
        "all",
        "tests/test_checkpoints.py::test_anything_that_would_be_called_is_refused_and_not_run",
    ),
    Patch(
        "fairseq.checkpoint_utils.load_checkpoint_to_cpu",
        name_the_file,
        "errors of a file that is no checkpoint do not name it",
        "all",
        "tests/test_checkpoints.py::test_what_is_no_checkpoint_is_named",
    ),
    Patch(
        "fairseq.checkpoint_utils.load_model_ensemble_and_task",
        load_within_sizes,
        "settings of a short file build a model of any size before its parameters are compared",
        "all",
        "tests/test_hostile_settings.py::test_a_model_larger_than_its_file_takes_no_memory",
    ),
    Patch(
        "fairseq.models.build_model",
        build_within_sizes,
        "the same",
        "all",
        "tests/test_hostile_settings.py::test_a_model_larger_than_its_file_takes_no_memory",
    ),
    Patch(
        "fairseq.data.audio.data_cfg.S2TDataConfig.vocab_filename",
        name_in_the_folder,
        "a config.yaml reads any file as a dictionary, and an error prints a word of it",
        "all",
        "tests/test_hostile_settings.py::test_a_configuration_names_no_dictionary_elsewhere",
    ),
    Patch(
        "fairseq.data.audio.speech_to_text_dataset.SpeechToTextDataset.__init__",
        check_recordings,
        "a manifest of recordings reads any file",
        "all",
        "tests/cli/test_speech.py::test_a_manifest_names_no_files_elsewhere",
    ),
    Patch(
        "fairseq.distributed.utils.broadcast_object",
        broadcast_plainly,
        "what a resumed training sends its other processes is refused by torch.load",
        "all",
        "tests/cli/test_distributed.py::test_two_processes_resume_as_one_does",
    ),
    Patch(
        "fairseq.checkpoint_utils.torch_persistent_save",
        save_whole,
        "a second attempt goes on in the file of the first; a full disk leaves a part of a file for ever",
        "all",
        "tests/test_saving.py::test_a_checkpoint_is_saved_whole_or_not_at_all",
    ),
    Patch(
        "fairseq.file_io.PathManager.copy",
        copy_in_one_step,
        "a training killed while it copies a checkpoint leaves half of one; copies fill the disk",
        "all",
        "tests/cli/test_interrupted.py::test_a_checkpoint_is_replaced_in_one_step",
    ),
    Patch(
        "fairseq.distributed.utils.call_main",
        say_in_a_line,
        "a training whose checkpoint cannot be written ends in tracebacks",
        "all",
        "tests/cli/test_interrupted.py::test_a_training_goes_on_when_there_is_room_again",
    ),
    *(
        Patch(
            f"fairseq.tasks.fairseq_task.{task}.build_model",
            bound_memory,
            "a training on a CPU keeps a compiled kernel for every shape of a product, and torch's compiler: 0.5 GB",
            "all",
            "tests/test_memory.py::test_a_training_of_many_shapes_stays_small",
        )
        for task in ("FairseqTask", "LegacyFairseqTask")
    ),
]


def owner_of(name: str):
    """The module or class that holds what a dotted name names, and the last part of the name."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:-1]:
            owner = getattr(owner, part)
        return owner, parts[-1]
    raise ModuleNotFoundError(name)


_INSTALLED = set()


def install() -> None:
    """Puts every replacement in its place, once."""
    for patch in PATCHES:
        owner, attribute = owner_of(patch.name)
        if (patch.name, id(owner)) in _INSTALLED:
            continue
        _INSTALLED.add((patch.name, id(owner)))
        replacement = patch.replace(getattr(owner, attribute, getattr(builtins, attribute, None)))
        is_static = isinstance(owner, type) and isinstance(vars(owner).get(attribute), staticmethod)
        setattr(owner, attribute, staticmethod(replacement) if is_static else replacement)
