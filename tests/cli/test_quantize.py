"""`python -m s2s_plugin quantize`: a smaller file that fairseq's commands read, and nearly the same translations."""

import subprocess
import sys

import pytest
import torch

from s2s_plugin import Translator
from s2s_plugin.compress.quantize import quantize_checkpoint
from tests.helpers import ROOT, Refused, hypotheses, model_options, run_generate, run_train

from .test_translator import folder, lines, words_of  # noqa: F401


def command(*args) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "s2s_plugin", "quantize", *map(str, args)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)


@pytest.fixture(scope="module")
def quantized(folder, tmp_path_factory):  # noqa: F811
    output = tmp_path_factory.mktemp("quantized") / "new" / "model"
    done = command("--model", folder, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{output}/model.pt: ")
    return output


def test_the_file_is_small_and_says_how_it_computes(folder, quantized):  # noqa: F811
    assert {file.name for file in folder.iterdir()} | {"SHA256SUMS"} == {file.name for file in quantized.iterdir()}
    state = torch.load(quantized / "model.pt", weights_only=True)
    former = torch.load(folder / "model.pt", weights_only=True)
    assert state["last_optimizer_state"] is None
    sizes = [sum(x.numel() * x.element_size() for x in one["model"].values()) for one in (state, former)]
    assert sizes[0] < 0.35 * sizes[1]
    assert model_options(quantized / "model.pt")["compute_dtype"] == "int8"
    assert model_options(folder / "model.pt")["compute_dtype"] == "float32"


def test_translations_are_nearly_the_same_in_any_batch(folder, quantized, lines):  # noqa: F811
    exact, rounded = Translator.load(folder), Translator.load(quantized)
    assert rounded.model.decoder.compute_dtype == "int8"
    expected, found = exact.translate(lines), rounded.translate(lines)
    same = sum(a == b for a, b in zip(words_of(expected), words_of(found), strict=True))
    assert same >= 0.8 * len(lines)
    scores = [(a.hypotheses[0].score, b.hypotheses[0].score) for a, b in zip(expected, found, strict=True)]
    assert any(a != b for a, b in scores)  # it does compute otherwise
    alone = [rounded.translate([line])[0] for line in lines]
    assert sum(a == b for a, b in zip(words_of(alone), words_of(found), strict=True)) >= len(lines) - 1


def test_fairseq_generate_reads_it(model, quantized, lines):  # noqa: F811
    args = ["--beam", 3, "--lenpen", 1.2, "--max-len-a", 2, "--max-len-b", 10]
    found = hypotheses(run_generate(model.data, quantized / "model.pt", *args))
    expected = words_of(Translator.load(quantized).translate(lines))
    assert [rows[0].words for _, rows in sorted(found.items())] == [rows[0] for rows in expected]
    # Its parameters are there in float32, too.
    override = ["--model-overrides", "{'compute_dtype': 'float32'}"]
    floats = run_generate(model.data, quantized / "model.pt", *args, *override)
    same = sum(rows[0].words == found[number][0].words for number, rows in hypotheses(floats).items())
    assert same >= 0.8 * len(lines)


def test_what_cannot_be_is_refused(data, folder, quantized, tmp_path):  # noqa: F811
    for args, message in (
        (["--model", tmp_path, "--output", tmp_path / "new"], "there is no model.pt"),
        (["--model", folder, "--output", folder], "there is something; name a new folder"),
        (["--model", quantized, "--output", tmp_path / "new"], "is in eight bits already"),
    ):
        done = command(*args)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and message in done.stderr
    with pytest.raises(Refused, match="--compute-dtype int8 is for translating: train in float32 or bfloat16"):
        run_train(data, tmp_path / "trained", "--compute-dtype", "int8")
    run_train(data, tmp_path / "lstm", arch="lstm", max_update=2, criterion="label_smoothed_cross_entropy")
    with pytest.raises(ValueError, match="a model of --arch lstm; only attn_rnn_s2s and attn_rnn_s2t can be made"):
        quantize_checkpoint(tmp_path / "lstm" / "checkpoint_last.pt", tmp_path / "new.pt")
    assert not (tmp_path / "new.pt").exists()
