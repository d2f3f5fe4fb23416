"""A model learns to write random sequences backwards, through the real commands."""

import os
import random

import pytest

from tests.helpers import hypotheses, lines, random_sentences, run_generate, run_preprocess, run_train, write_parallel

PAIRS = {"train": 4000, "valid": 100, "test": 200}


@pytest.fixture(scope="module")
def seed():
    """Another one each time; S2S_TEST_SEED=... repeats a run."""
    return int(os.environ.get("S2S_TEST_SEED") or random.SystemRandom().randrange(10**6))


@pytest.mark.slow
def test_reversal_reaches_95_bleu_on_sequences_not_seen(seed, tmp_path, capsys):
    with capsys.disabled():
        print(f"\nS2S_TEST_SEED={seed}")
    sentences = random_sentences(random.Random(seed), "abcdefghij", sum(PAIRS.values()), 1, 10)
    for split, count in PAIRS.items():
        write_parallel(tmp_path / "text" / split, [(words, words[::-1]) for words in sentences[:count]])
        del sentences[:count]
    data = run_preprocess(tmp_path / "text", tmp_path / "data")
    run_train(
        data, tmp_path / "model", "--encoder-bidirectional",
        seed=seed, max_update=2000, batch_size=64, lr=0.004, lr_scheduler="inverse_sqrt", warmup_updates=200,
        encoder_embed_dim=32, decoder_embed_dim=32, encoder_hidden_size=64, decoder_hidden_size=96, attn_dim=64,
        dropout=0.0, label_smoothing=0.0, validate_interval=1000, save_interval=1000,
    )  # fmt: skip
    output = run_generate(
        data, tmp_path / "model" / "checkpoint_last.pt", "--beam", 5, "--scoring", "sacrebleu",
        "--sacrebleu-tokenizer", "none", batch_size=100,
    )  # fmt: skip
    score = float(output.stdout.splitlines()[-1].split("BLEU = ")[1].split()[0])
    reference = {number: tuple(rows[0][0].split()) for number, rows in lines(output, "T").items()}
    right = sum(hypos[0].words == reference[number] for number, hypos in hypotheses(output).items())
    with capsys.disabled():
        print(f"BLEU {score}, {right} of {len(reference)} sequences right")
    assert len(reference) == PAIRS["test"]
    assert score > 95, f"S2S_TEST_SEED={seed}"
    for batch_size, padding in ((1, []), (64, []), (1, ["--left-pad-source"]), (64, ["--left-pad-source"])):
        aligned = run_generate(
            data, tmp_path / "model" / "checkpoint_last.pt", "--beam", 5, "--print-alignment", "hard", *padding,
            batch_size=batch_size,
        )  # fmt: skip
        gold = [
            int(source) == len(reference[number]) - 1 - int(target)
            for number, rows in lines(aligned, "A").items()
            for source, target in (pair.split("-") for pair in rows[0][0].split())
        ]
        share = sum(gold) / len(gold)
        with capsys.disabled():
            print(f"alignment of batches of {batch_size} {' '.join(padding)}: {share:.1%} of {len(gold)} words")
        assert share > 0.98, f"S2S_TEST_SEED={seed}"
