"""A pointer-generator copies words that it has never seen, in every kind of search."""

import random

import pytest
import torch

from tests.helpers import hypotheses, lines, random_sentences, run_generate, run_preprocess, run_train, write_parallel

SEEN, UNSEEN = [f"s{number}" for number in range(300)], [f"u{number}" for number in range(100)]
PAIRS = {"train": (SEEN, 4000), "valid": (SEEN, 50), "test": (UNSEEN, 200)}


@pytest.fixture(scope="module", params=["joined", "different"])
def data(request, tmp_path_factory):
    """Sentences and their copies; the test's words are in the dictionaries and not in training. The dictionaries are
    one, or have the words in another order with some that the other has not."""
    folder, rng = tmp_path_factory.mktemp("copies"), random.Random(1)
    for split, (words, count) in PAIRS.items():
        sentences = random_sentences(rng, words, count, 1, 6)
        write_parallel(folder / split, [(sentence, sentence) for sentence in sentences])
    words = [*SEEN, *UNSEEN]
    (folder / "dict.src").write_text("".join(f"{word} 1\n" for word in words))
    (folder / "dict.tgt").write_text("".join(f"{word} 1\n" for word in ["other", *reversed(words)]))
    if request.param == "joined":
        dictionaries = "--joined-dictionary", "--srcdict", folder / "dict.src"
    else:
        dictionaries = "--srcdict", folder / "dict.src", "--tgtdict", folder / "dict.tgt"
    return run_preprocess(folder, folder / "data", *dictionaries)


def train(data, folder, *args):
    run_train(
        data, folder, "--encoder-bidirectional", *args, max_update=800, batch_size=64, lr=0.004,
        lr_scheduler="inverse_sqrt", warmup_updates=100, encoder_embed_dim=32, decoder_embed_dim=32,
        encoder_hidden_size=64, decoder_hidden_size=96, attn_dim=64, dropout=0.2, label_smoothing=0.0,
        validate_interval=1000, save_interval=1000,
    )  # fmt: skip
    return folder / "checkpoint_last.pt"


def exact(output) -> float:
    """Share of the sentences that are exactly their references."""
    reference = {number: tuple(rows[0][0].split()) for number, rows in lines(output, "T").items()}
    right = [hypos[0].words == reference[number] for number, hypos in hypotheses(output).items()]
    assert len(right) == PAIRS["test"][1]
    return sum(right) / len(right)


@pytest.mark.slow
def test_words_never_seen_are_copied(data, tmp_path):
    copying = train(data, tmp_path / "copying", "--copy-attn", "--coverage-attn")
    beam = run_generate(data, copying, "--beam", 5, batch_size=64)
    assert exact(beam) > 0.95
    assert exact(run_generate(data, copying, "--beam", 5, batch_size=1)) == exact(beam)
    assert exact(run_generate(data, copying, "--beam", 5, "--left-pad-source", batch_size=64)) == exact(beam)
    assert exact(run_generate(data, f"{copying}:{copying}", "--beam", 5, batch_size=64)) == exact(beam)
    assert exact(run_generate(data, copying, "--beam", 2, "--prefix-size", 2, batch_size=64)) > 0.95
    assert exact(run_generate(data, copying, "--beam", 1, "--sampling", "--seed", 1, batch_size=64)) > 0.8
    forced = run_generate(data, copying, "--score-reference", batch_size=64)
    for number, hypos in hypotheses(forced).items():
        if hypos[0].words == hypotheses(beam)[number][0].words:
            assert hypos[0].score == pytest.approx(hypotheses(beam)[number][0].score, abs=1e-4)


def test_an_ensemble_with_a_plain_model_has_the_mean_of_probabilities(data, tmp_path):
    checkpoints = []
    for name, args in (("copying", ["--copy-attn"]), ("plain", [])):
        run_train(data, tmp_path / name, "--encoder-bidirectional", *args, max_update=30, lr=0.01)
        checkpoints.append(tmp_path / name / "checkpoint_last.pt")

    def probabilities(path):
        """Of the tokens of each reference, in one list."""
        rows = lines(run_generate(data, path, "--score-reference", batch_size=64), "P")
        return torch.tensor([2.0 ** float(bits) for n in sorted(rows) for bits in rows[n][0][0].split()])

    found = probabilities(":".join(map(str, checkpoints)))
    copying, plain = map(probabilities, checkpoints)
    assert (copying > 100 * plain).any()
    torch.testing.assert_close(found, (copying + plain) / 2, rtol=1e-3, atol=0)


@pytest.mark.slow
def test_without_copying_they_are_not(data, tmp_path):
    assert exact(run_generate(data, train(data, tmp_path / "plain"), "--beam", 5, batch_size=64)) < 0.05
