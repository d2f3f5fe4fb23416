"""Pruning through fairseq-train: zeros that stay through resuming, averaging, packing and searching."""

import re
import subprocess
import sys

import pytest
import torch
from fairseq_cli import train

from s2s_plugin import Translator
from s2s_plugin.compress.pack import pack_checkpoint
from s2s_plugin.ops.sparse import is_packed
from tests.helpers import (
    ROOT,
    Refused,
    assert_same_parameters,
    hypotheses,
    parameters,
    run,
    run_command,
    run_generate,
    run_train,
    train_args,
)

from .test_distributed import OPTIONS, train_as_two
from .test_translator import fill_folder, lines, words_of  # noqa: F401

PRUNING = ["--prune-target", 0.6, "--prune-every", 10]
SCRIPT = ROOT / "scripts" / "average_checkpoints.py"


def sparsity(state: dict) -> float:
    found = [tensor for tensor in state.values() if tensor.dim() == 2 and min(tensor.shape) > 1]
    return sum(int((tensor == 0).sum()) for tensor in found) / sum(tensor.numel() for tensor in found)


def zeros_of(state: dict) -> dict:
    return {name: tensor == 0 for name, tensor in state.items() if tensor.dim() == 2}


@pytest.fixture(scope="module")
def pruned(data, tmp_path_factory):
    """A model that was pruned while it learned, with checkpoints of its epochs, of ten updates each."""
    folder = tmp_path_factory.mktemp("pruned")
    args = [*PRUNING, "--prune-start", 20, "--prune-end", 60, "--encoder-bidirectional", "--store-ema"]
    args += ["--ema-decay", 0.5, "--keep-last-epochs", 100]
    words = train_args(data, folder, *args, batch_size=30, lr=0.02, max_update=150, encoder_hidden_size=32)
    words.remove("--no-epoch-checkpoints")
    output = run(train, *words)
    return folder, output


def test_the_share_of_zeros_rises_to_the_target_and_is_logged(pruned):
    folder, output = pruned
    logged = [row["train_sparsity"] for row in output.stats("train")]
    assert logged[1] < 0.05 < 0.2 < logged[3] < 0.5  # updates 11 to 20 and 31 to 40
    assert logged == sorted(logged) and logged[0] < 0.05 and logged[-1] == pytest.approx(0.6, abs=0.01)
    assert sparsity(parameters(folder / "checkpoint_last.pt")) == pytest.approx(0.6, abs=0.01)


def test_a_broken_off_pruning_goes_on_as_if_unbroken(data, tmp_path):
    args = [*PRUNING, "--prune-end", 60]
    run_train(data, tmp_path / "broken", *args, batch_size=30, max_update=35)
    middle = zeros_of(parameters(tmp_path / "broken" / "checkpoint_last.pt"))
    run_train(data, tmp_path / "broken", *args, batch_size=30, max_update=70)
    run_train(data, tmp_path / "unbroken", *args, batch_size=30, max_update=70)
    last = tmp_path / "broken" / "checkpoint_last.pt"
    assert_same_parameters(last, tmp_path / "unbroken" / "checkpoint_last.pt")
    end = parameters(last)
    assert all((end[name][places] == 0).all() for name, places in middle.items())
    assert sum(int(places.sum()) for places in middle.values()) > 100


def test_a_finished_model_is_pruned_by_training_it_further(data, model, tmp_path):
    args = [*PRUNING, "--prune-end", 30, "--prune-scope", "each", "--prune-except", "embed_tokens,output_projection"]
    args += ["--encoder-bidirectional", "--finetune-from-model", model.checkpoint]
    sizes = {"encoder_hidden_size": 32, "decoder_hidden_size": 48, "attn_dim": 32}
    run_train(data, tmp_path, *args, **sizes, max_update=40)
    state = parameters(tmp_path / "checkpoint_last.pt")
    for name, tensor in state.items():
        if tensor.dim() == 2 and min(tensor.shape) > 1:
            spared = "embed_tokens" in name or "output_projection" in name
            share = float((tensor == 0).float().mean())
            assert share < 0.2 if spared else share == pytest.approx(0.6, abs=0.02), name


@pytest.mark.parametrize("kind", ["mean", "moving average"])
def test_averaging_leaves_the_zeros(pruned, tmp_path, kind):
    folder, _ = pruned
    # Of the time in which the share was still rising, the last of them no longer.
    chosen = [folder / f"checkpoint{number}.pt" for number in (10, 4, 5, 8)]
    if kind == "moving average":
        chosen = ["--ema", folder / "checkpoint8.pt"]
    done = run_command([sys.executable, SCRIPT, "--output", tmp_path / "model.pt", *chosen])
    assert done.returncode == 0, done.stderr
    state, last = parameters(tmp_path / "model.pt"), parameters(folder / "checkpoint8.pt")
    if kind == "mean":
        last = parameters(folder / "checkpoint10.pt")
    zeros = zeros_of(last)
    assert all((state[name][places] == 0).all() for name, places in zeros.items())
    assert sparsity(state) == pytest.approx(sparsity(last), abs=1e-3) and sparsity(state) > 0.5
    assert any(not torch.equal(state[name], last[name]) for name in zeros)


@pytest.fixture(scope="module")
def packed(pruned, data, text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder") / "model"
    fill_folder(folder, pruned[0] / "checkpoint_last.pt", data)
    output = folder.with_name("packed")
    done = run_command([sys.executable, "-m", "s2s_plugin", "pack", "--model", folder, "--output", output])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{output}/model.pt: ")
    return folder, output


def test_packing_changes_the_size_and_nothing_else(data, packed, lines):  # noqa: F811
    folder, output = packed
    assert is_packed(parameters(output / "model.pt")) and not is_packed(parameters(folder / "model.pt"))
    expected = hypotheses(run_generate(data, folder / "model.pt", "--beam", 3))
    assert hypotheses(run_generate(data, output / "model.pt", "--beam", 3)) == expected
    sizes = [sum(x.numel() * x.element_size() for x in parameters(one / "model.pt").values()) for one in packed]
    assert sizes[1] < 0.55 * sizes[0]  # 0.4 of the values, a bit for every 32, biases
    assert words_of(Translator.load(output).translate(lines)) == words_of(Translator.load(folder).translate(lines))


def test_a_packed_model_can_be_had_in_eight_bits_and_one_in_eight_bits_packed(packed, lines, tmp_path):  # noqa: F811
    folder, output = packed

    def write(name: str, source, target) -> int:
        words = [sys.executable, "-m", "s2s_plugin", name, "--model", source, "--output", target]
        done = run_command(words)
        assert done.returncode == 0, done.stderr
        return sum(x.numel() * x.element_size() for x in parameters(target / "model.pt").values())

    size = write("quantize", output, tmp_path / "both")
    assert write("quantize", folder, tmp_path / "eight") > size
    assert write("pack", tmp_path / "eight", tmp_path / "other") == size
    assert is_packed(parameters(tmp_path / "both" / "model.pt"))
    one, other, eight = (words_of(Translator.load(tmp_path / x).translate(lines)) for x in ("both", "other", "eight"))
    assert one == other == eight


def test_training_goes_on_from_a_packed_model(data, packed, tmp_path):
    sizes = {"encoder_hidden_size": 32}
    args = ["--encoder-bidirectional", "--finetune-from-model", packed[1] / "model.pt"]
    run_train(data, tmp_path, *args, *PRUNING, "--prune-end", 30, max_update=5, **sizes)
    before, after = parameters(packed[0] / "model.pt"), parameters(tmp_path / "checkpoint_last.pt")
    assert all((after[name][places] == 0).all() for name, places in zeros_of(before).items())
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())


def test_what_cannot_be_is_refused(data, model, packed, tmp_path):
    for args, message in (
        (["--prune-target", 0.5], "--prune-target 0.5 needs --prune-end: by which update it is reached"),
        (["--prune-target", 1.5, "--prune-end", 10], "--prune-target 1.5: must be at least 0 and below 1"),
        (["--prune-end", 10], "--prune-end 10 goes with --prune-target"),
        (["--prune-except", "embed"], "--prune-except embed goes with --prune-target"),
        (["--prune-start", 5], "--prune-start 5 goes with --prune-target"),
        (["--prune-every", 5], "--prune-every 5 goes with --prune-target"),
        (["--prune-scope", "each"], "--prune-scope each goes with --prune-target"),
        ([*PRUNING, "--prune-end", 9, "--prune-except", "nowhere"], "--prune-except nowhere: stands in no name"),
        ([*PRUNING, "--prune-end", 9, "--prune-scope", "some"], "--prune-scope: invalid choice"),
    ):
        with pytest.raises(Refused, match=re.escape(message)):
            run_train(data, tmp_path / "trained", *args)
    with pytest.raises(ValueError, match="has no matrix with zeros to leave out: train it with --prune-target"):
        pack_checkpoint(model.checkpoint, tmp_path / "new.pt")
    with pytest.raises(ValueError, match="is packed already"):
        pack_checkpoint(packed[1] / "model.pt", tmp_path / "new.pt")
    assert not (tmp_path / "new.pt").exists()
    words = [sys.executable, SCRIPT, "--output", tmp_path / "mean.pt", packed[1] / "model.pt"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 1 and "is packed: average first" in done.stderr


def test_an_end_before_a_run_goes_on_is_refused(data, tmp_path):
    run_train(data, tmp_path, max_update=12)
    with pytest.raises(Refused, match="--prune-end 10 has passed after 12 updates"):
        run_train(data, tmp_path, *PRUNING, "--prune-end", 10, max_update=20)


def test_processes_prune_alike(data, tmp_path):
    """In two processes of half a batch each as in one."""
    args = [*PRUNING, "--prune-end", 20, "--prune-start", 2]
    train_as_two(data, tmp_path / "two", *args, **{**OPTIONS, "max_update": 25})
    run_train(data, tmp_path / "one", *args, update_freq=2, **{**OPTIONS, "max_update": 25})
    one, two = (parameters(tmp_path / run / "checkpoint_last.pt") for run in ("one", "two"))
    assert sparsity(two) == pytest.approx(0.6, abs=0.01)
    differing = sum(int(((one[name] == 0) != (two[name] == 0)).sum()) for name in zeros_of(one))
    assert differing <= 0.01 * sum(tensor.numel() for tensor in one.values())
