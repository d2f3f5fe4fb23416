"""Checkpoints that hold only strings and numbers, and traps for what they would have run."""

import builtins
import contextlib
import importlib
import os
import subprocess
from argparse import Namespace
from copy import deepcopy
from pathlib import Path
from unittest import mock

import torch
from fairseq import options
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_MODEL_NAME_REGISTRY
from omegaconf import OmegaConf

MARK = "canary_of_a_test"
STRINGS = (
    f"__import__('os').system('touch {MARK}')",
    f"[__import__('os').system('touch {MARK}') or 5, 10]",
    f"{MARK}; touch {MARK}",
    f"../../{MARK}",
    "${oc.env:HOME}" + MARK,
    f"{{'a': open('{MARK}', 'w')}}",
    MARK,
)
TEXT = sorted(
    arch for arch, model in ARCH_MODEL_NAME_REGISTRY.items()
    if not any(part in model for part in ("wav2vec", "hubert", "s2", "speech", "conformer", "tacotron", "tts", "dummy"))
    and model not in ("convtransformer", "xm_transformer", "unity_xm_transformer", "CodeHiFiGANVocoder", "attn_rnn_s2t",
                      "pipeline_parallel_transformer", "fastspeech2")
)  # fmt: skip
"""Architectures of fairseq's and ours for text."""


def write_folder(folder: Path) -> Path:
    """Dictionaries and `languages` of a folder `model`."""
    folder.mkdir(parents=True, exist_ok=True)
    for lang in ("src", "tgt"):
        dictionary = Dictionary()
        for word in "abcdefgh":
            dictionary.add_symbol(word)
        dictionary.save(str(folder / f"dict.{lang}.txt"))
    (folder / "languages").write_text("src_lang=src\ntgt_lang=tgt\n")
    return folder


def settings_of(arch: str, data: Path, task: str = "translation", *args) -> tuple[dict, Namespace]:
    """The settings that a training of an architecture stores: `cfg`, and in the older form the flat Namespace."""
    parser = options.get_training_parser(task)
    words = [str(data), "--arch", arch, "--task", task, "-s", "src", "-t", "tgt", "--optimizer", "adam", *args]
    flat = options.parse_args_and_arch(parser, words)
    cfg = OmegaConf.to_container(convert_namespace_to_omegaconf(deepcopy(flat)), resolve=True, enum_to_str=True)
    return cfg, flat


def write_checkpoint(path: Path, *, cfg: dict | None = None, args: Namespace | None = None, model=None) -> Path:
    state = {
        "cfg": cfg,
        "args": args,
        "model": {"weight": torch.zeros(4, 4)} if model is None else model,
        "optimizer_history": [{"optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 1}],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "task_state": {},
    }
    torch.save(state, path)
    return path


@contextlib.contextmanager
def traps():
    """Context that gives a list of what was called with a word that holds `MARK`: commands, code, imports, files."""
    sprung = []

    def trap(name, former, writes_alone=False):
        def called(*args, **kwargs):
            if MARK in repr(args[:1]) and not (writes_alone and "r" in str(args[1] if len(args) > 1 else "r")):
                sprung.append((name, repr(args)[:200]))
            return former(*args, **kwargs)

        return called

    with contextlib.ExitStack() as stack:
        for owner, name in (
            (os, "system"), (subprocess, "Popen"), (builtins, "eval"), (builtins, "exec"), (builtins, "__import__"),
            (importlib, "import_module"),
        ):  # fmt: skip
            stack.enter_context(mock.patch.object(owner, name, trap(name, getattr(owner, name))))
        stack.enter_context(mock.patch.object(builtins, "open", trap("open", open, writes_alone=True)))
        yield sprung


@contextlib.contextmanager
def models_without_memory():
    """Context in which models are built on torch's device `meta`, however large, and no parameters are put in."""
    from fairseq import models
    from fairseq.models import FairseqEncoderDecoderModel

    build = models.build_model

    def build_model(*args, **kwargs):
        with torch.device("meta"):
            return build(*args, **kwargs)

    with mock.patch.object(models, "build_model", build_model), mock.patch.object(
        FairseqEncoderDecoderModel, "load_state_dict", lambda *args, **kwargs: None
    ), mock.patch("s2s_plugin.checkpoints._check_sizes", lambda *args: None):  # fmt: skip
        yield
