"""`scripts/average_checkpoints.py --best` finds, by their names, the epochs that fairseq-train scored highest."""

import json
import subprocess
import sys

import pytest
import torch

from tests.helpers import ROOT, environment, parameters, read_checkpoint, run_train
from tests.scripts.loading import load_script

best_of = load_script("average_checkpoints.py").best_of


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder of a training of 6 epochs that keeps the best 3, and BLEU by number of updates."""
    folder = tmp_path_factory.mktemp("best")
    output = run_train(
        data, folder, "--eval-bleu", "--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric",
        max_epoch=6, max_update=0, batch_size=8, lr=0.01, dropout=0.0, encoder_hidden_size=32, decoder_hidden_size=32,
        eval_bleu_args=json.dumps({"beam": 1, "max_len_b": 20}), keep_best_checkpoints=3,
    )  # fmt: skip
    return folder, {row["valid_num_updates"]: row["valid_bleu"] for row in output.stats("valid")}


def test_the_names_hold_the_scores(trained):
    folder, scores = trained
    paths = sorted(str(path) for path in folder.glob("checkpoint.best_bleu_*.pt"))
    assert len(scores) == 6 and len(paths) == 3
    found = [scores[read_checkpoint(path)["optimizer_history"][-1]["num_updates"]] for path in best_of(paths, 3)]
    assert found == sorted(scores.values(), reverse=True)[:3] and found[0] > 0


def test_the_best_are_averaged(trained, tmp_path):
    folder, _ = trained
    paths = sorted(str(path) for path in folder.glob("checkpoint.best_bleu_*.pt"))
    subprocess.run(
        [sys.executable, "scripts/average_checkpoints.py", "--output", tmp_path / "model.pt", "--best", "2", *paths],
        cwd=ROOT, env=environment(PYTHONPATH=str(ROOT)), check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    mean = parameters(tmp_path / "model.pt")
    first, second = (parameters(path) for path in best_of(paths, 2))
    assert not first["decoder.embed_tokens.weight"].equal(second["decoder.embed_tokens.weight"])
    for name, value in mean.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)
