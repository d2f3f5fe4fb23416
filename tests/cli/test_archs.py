"""Every architecture through preprocess, train, validate, resume, generate and interactive."""

import pytest
import torch

from tests.helpers import (
    ARCHS,
    assert_same_parameters,
    hypotheses,
    lines,
    model_options,
    parameters,
    read_checkpoint,
    run_generate,
    run_interactive,
    run_preprocess,
    run_train,
    run_validate,
)


@pytest.mark.parametrize("arch", ARCHS)
def test_every_command(arch, data, tmp_path):
    save_dir, checkpoint = tmp_path / "model", tmp_path / "model" / "checkpoint_last.pt"

    output = run_train(data, save_dir, arch=arch, max_update=20)
    losses = [row["train_loss"] for row in output.stats("train")]
    assert losses[-1] < losses[0]
    assert model_options(checkpoint)["_name"] == arch
    first = parameters(checkpoint)

    (validated,) = run_validate(data, checkpoint).stats("valid")
    assert validated["valid_loss"] == output.stats("valid")[-1]["valid_loss"]
    assert validated["valid_nll_loss"] == output.stats("valid")[-1]["valid_nll_loss"]

    output = run_train(data, save_dir, arch=arch, max_update=40)
    assert "checkpoint_last.pt (epoch 2 @ 20 updates)" in output.log
    assert read_checkpoint(checkpoint)["optimizer_history"][-1]["num_updates"] == 40
    assert any(not torch.equal(first[name], value) for name, value in parameters(checkpoint).items())

    generated = run_generate(data, checkpoint)
    assert sorted(hypotheses(generated)) == list(range(30))
    assert "Generate test with beam=1: BLEU4 = " in generated.stdout

    # What interactive answers to the test's source is what generate made of it.
    source = tmp_path / "source"
    source.write_text("".join(f"{lines(generated, 'S')[number][0][0]}\n" for number in range(30)))
    answered = hypotheses(run_interactive(data, checkpoint, source, "--beam", 1))
    for number, (expected,) in hypotheses(generated).items():
        assert answered[number][0].words == expected.words
        assert answered[number][0].score == pytest.approx(expected.score, abs=1e-4)


def test_resuming_between_epochs_changes_nothing(data, tmp_path):
    """Batches, order and dropout of the third epoch do not depend on where the command was started."""
    run_train(data, tmp_path / "broken", max_epoch=2, max_update=0, dropout=0.2)
    output = run_train(data, tmp_path / "broken", max_epoch=3, max_update=0, dropout=0.2)
    (row,) = output.stats("train")
    assert row["epoch"] == 3
    unbroken = run_train(data, tmp_path / "unbroken", max_epoch=3, max_update=0, dropout=0.2)
    assert row["train_loss"] == unbroken.stats("train")[-1]["train_loss"]
    assert_same_parameters(tmp_path / "broken" / "checkpoint_last.pt", tmp_path / "unbroken" / "checkpoint_last.pt")


def test_no_sentence_is_left_out(text, model, tmp_path):
    """fairseq drops the last batch unless its size is a multiple of --required-batch-size-multiple, which is 8 where
    nothing is said: the longest sentences, in training, validation and fairseq-generate."""
    count = 13
    for split in ("train", "valid", "test"):
        for language in ("src", "tgt"):
            sentences = (text / f"train.{language}").read_text(encoding="utf-8").splitlines(keepends=True)
            (tmp_path / f"{split}.{language}").write_text("".join(sentences[:count]), encoding="utf-8")
    dictionaries = ["--srcdict", f"{model.data}/dict.src.txt", "--tgtdict", f"{model.data}/dict.tgt.txt"]
    data = run_preprocess(tmp_path, tmp_path / "data", *dictionaries)
    output = run_train(
        data, tmp_path / "model", max_epoch=1, max_update=0, batch_size=4, required_batch_size_multiple=8
    )
    (row,) = output.stats("train")
    assert row["train_bsz"] * row["train_num_updates"] == pytest.approx(count, abs=0.3)
    (row,) = output.stats("valid")
    expected = run_validate(data, tmp_path / "model" / "checkpoint_last.pt").stats("valid")[0]
    assert row["valid_loss"] == expected["valid_loss"]
    found = hypotheses(run_generate(data, model.checkpoint, "--required-batch-size-multiple", 8))
    assert sorted(found) == list(range(count))
