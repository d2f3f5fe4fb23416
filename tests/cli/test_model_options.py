"""Options of the model family on the command line: they train, resume, and translate alike in any batch."""

import pytest

from tests.helpers import hypotheses, model_options, run_generate, run_train

COMMANDS = {
    "conditional": (
        "--attn-mode conditional --decoder-cell gru --encoder-cell gru --encoder-bidirectional --decoder-bridge mean "
        "--encoder-layer-norm --decoder-layer-norm --encoder-transition-depth 2 --decoder-transition-depth 2 "
        "--hidden-init orthogonal --attn-dropout 0.1 --decoder-readout maxout"
    ),
    "regularised": (
        "--dropout 0.2 --variational-dropout --encoder-dropout-hidden 0.1 --decoder-dropout-hidden 0.1 "
        "--encoder-word-dropout 0.1 --decoder-word-dropout 0.1 --decoder-dropout-readout 0.3 --forget-gate-bias 1 "
        "--encoder-cell lstm --decoder-cell lstm --attn-mode recurrent"
    ),
    "deep": (
        "--encoder-layers 3 --decoder-layers 3 --encoder-residual --decoder-residual --attn-heads 2 "
        "--attn-energy normed --decoder-context first --decoder-readout linear"
    ),
    "coverage and copying": "--coverage-attn --copy-attn --attn-heads 2",
    "location": "--attn-location-filters 4 --attn-location-width 5 --attn-heads 2 --coverage-attn",
    "bfloat16": "--attn-mode conditional --decoder-layer-norm --attn-heads 2 --compute-dtype bfloat16",
}


@pytest.mark.filterwarnings("ignore:.*float32 are faster on this CPU")
@pytest.mark.parametrize("name", COMMANDS)
def test_options_train_resume_and_translate(name, data, tmp_path):
    save_dir, options = tmp_path / "model", COMMANDS[name].split()
    losses = [row["train_loss"] for row in run_train(data, save_dir, *options, max_update=40).stats("train")]
    assert losses[-1] < losses[0]
    output = run_train(data, save_dir, *options, max_update=60)
    assert "checkpoint_last.pt (epoch 3 @ 40 updates)" in output.log
    stored = model_options(save_dir / "checkpoint_last.pt")
    for word in (word for word in options if word.startswith("--")):
        assert word[2:].replace("-", "_") in stored
    batched = hypotheses(run_generate(data, save_dir / "checkpoint_last.pt", "--beam", 3))
    alone = hypotheses(run_generate(data, save_dir / "checkpoint_last.pt", "--beam", 3, batch_size=1))
    if name != "bfloat16":  # which rounds otherwise where the shapes are others
        assert {key: [h.words for h in value] for key, value in batched.items()} == {
            key: [h.words for h in value] for key, value in alone.items()
        }
    assert batched.keys() == alone.keys()


@pytest.mark.parametrize("mode", ["conditional", "parallel"])
def test_the_coverage_loss_is_logged_and_falls(mode, data, tmp_path):
    options = ["--coverage-attn", "--attn-mode", mode, "--coverage-lambda", "1"]
    rows = run_train(data, tmp_path, *options, max_update=60).stats("train")
    losses = [row["train_coverage_loss"] for row in rows]
    assert 0 < losses[-1] < losses[0] < 1
