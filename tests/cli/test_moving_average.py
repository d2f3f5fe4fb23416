"""fairseq's exponential moving average of the parameters: kept, gone on with, and made a model of."""

import sys

import torch

from tests.helpers import ROOT, hypotheses, read_checkpoint, run_command, run_generate, run_train

EMA = ("--store-ema", "--ema-decay", 0.9)


def test_the_moving_average_resumes_and_translates(data, tmp_path):
    last = tmp_path / "broken" / "checkpoint_last.pt"
    run_train(data, tmp_path / "broken", *EMA, max_update=0, max_epoch=1)
    run_train(data, tmp_path / "broken", *EMA, max_update=0, max_epoch=2)
    run_train(data, tmp_path / "unbroken", *EMA, max_update=0, max_epoch=2)
    mean, other = (
        read_checkpoint(tmp_path / run / "checkpoint_last.pt")["extra_state"]["ema"] for run in ("broken", "unbroken")
    )
    assert all(torch.equal(mean[name], other[name]) for name in mean)
    parameters = read_checkpoint(last)["model"]
    assert any(not torch.equal(mean[name], parameters[name]) for name in mean)

    script = ROOT / "scripts" / "average_checkpoints.py"
    model = tmp_path / "model.pt"
    done = run_command([sys.executable, script, "--ema", "--output", model, last])
    assert done.returncode == 0, done.stderr
    assert all(torch.equal(mean[name], value) for name, value in read_checkpoint(model)["model"].items())
    assert len(hypotheses(run_generate(data, model))) == 30


def test_a_checkpoint_without_one_is_refused(data, model, tmp_path):
    script = ROOT / "scripts" / "average_checkpoints.py"
    done = run_command([sys.executable, script, "--ema", "--output", tmp_path / "model.pt", model.checkpoint])
    assert done.returncode != 0
    assert "holds no moving average: train with --store-ema" in done.stderr
    assert not (tmp_path / "model.pt").exists()
