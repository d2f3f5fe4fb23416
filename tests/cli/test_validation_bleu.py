"""BLEU in validation, by the tokenizer that was asked for, chooses the best checkpoint."""

import json

import pytest
from sacrebleu import corpus_bleu

from tests.helpers import lines, read_checkpoint, run_generate, run_train, run_validate

OPTIONS = {
    "max_epoch": 6,
    "max_update": 0,
    "batch_size": 8,
    "lr": 0.01,
    "dropout": 0.0,
    "encoder_hidden_size": 32,
    "decoder_hidden_size": 32,
    "eval_bleu_args": json.dumps({"beam": 2, "max_len_b": 20}),
}


def train(data, save_dir, *args):
    return run_train(
        data, save_dir, "--eval-bleu", *args, "--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric",
        **OPTIONS,
    )  # fmt: skip


@pytest.mark.parametrize("tokenizer", ["zh", "none", None])
def test_bleu_of_validation(tokenizer, data, tmp_path):
    """It is that of fairseq-generate on the same sentences, and the best checkpoint is the one where it is highest."""
    args = [] if tokenizer is None else ["--eval-bleu-tokenizer", tokenizer]
    output = train(data, tmp_path, *args)
    rows = output.stats("valid")
    scores = [row["valid_bleu"] for row in rows]
    assert len(scores) == 6 and max(scores) > 0

    best = read_checkpoint(tmp_path / "checkpoint_best.pt")
    assert best["extra_state"]["best"] == pytest.approx(max(scores), abs=0.01)
    last_best = max(range(6), key=lambda index: (scores[index], index))
    assert best["optimizer_history"][-1]["num_updates"] == rows[last_best]["valid_num_updates"]

    output = run_generate(
        data, tmp_path / "checkpoint_best.pt", "--gen-subset", "valid", "--beam", 2, "--max-len-b", 20
    )
    hyps, refs = ([row[0][-1] for _, row in sorted(lines(output, mark).items())] for mark in ("D", "T"))
    assert len(hyps) == len(refs) == 30
    expected = corpus_bleu(hyps, [refs], tokenize=tokenizer or "13a").score
    assert max(scores) == pytest.approx(expected, abs=0.011)
    (validated,) = run_validate(data, tmp_path / "checkpoint_best.pt").stats("valid")
    assert validated["valid_bleu"] == pytest.approx(expected, abs=0.011)


def test_tokenizers_differ(data, tmp_path):
    """The same training: words of two characters have more parts in common when they are taken apart."""
    outputs = [train(data, tmp_path / name, "--eval-bleu-tokenizer", name).stats("valid") for name in ("zh", "none")]
    assert [row["valid_loss"] for row in outputs[0]] == [row["valid_loss"] for row in outputs[1]]
    assert outputs[0][-1]["valid_bleu"] != outputs[1][-1]["valid_bleu"]
