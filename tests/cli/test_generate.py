"""What fairseq-generate can do, on a model that has learned the corpus."""

import math

import pytest
from sacrebleu import corpus_bleu

from tests.helpers import hypotheses, lines, run_generate, run_train

SENTENCES = range(30)


@pytest.fixture(scope="module")
def second_model(data, tmp_path_factory):
    """One of the same dictionaries with another shape."""
    folder = tmp_path_factory.mktemp("second")
    run_train(data, folder, arch="attn_rnn_s2s_vanilla", max_update=100, dropout=0.0, seed=2)
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="module")
def beam(model):
    """What a beam of five finds, all five of it."""
    return run_generate(model.data, model.checkpoint, "--beam", 5, "--nbest", 5)


def positional_scores(output) -> dict:
    return {
        number: [[float(score) for score in row[0].split()] for row in rows]
        for number, rows in lines(output, "P").items()
    }


def references(output) -> dict:
    return {number: tuple(rows[0][0].split()) for number, rows in lines(output, "T").items()}


def same(found: dict, expected: dict) -> None:
    """The same words, and scores to 1e-4."""
    assert found.keys() == expected.keys()
    for number, hypos in expected.items():
        assert [hypo.words for hypo in found[number]] == [hypo.words for hypo in hypos]
        assert [hypo.score for hypo in found[number]] == pytest.approx([hypo.score for hypo in hypos], abs=1e-4)


def test_scores_are_means_over_the_words_and_sorted(beam):
    positional = positional_scores(beam)
    for number, hypos in hypotheses(beam).items():
        scores = [hypo.score for hypo in hypos]
        assert len(hypos) == 5 and scores == sorted(scores, reverse=True)
        assert len({hypo.words for hypo in hypos}) == 5
        for hypo, words in zip(hypos, positional[number], strict=True):
            assert len(words) == len(hypo.words) + 1  # and the end of the sentence
            assert hypo.score == pytest.approx(sum(words) / len(words), abs=1e-3)
            assert all(score <= 0 for score in words)


def test_the_beam_finds_no_worse_than_greedy_search(model, beam):
    """Under the score that is searched for: --lenpen 0 sums log-probabilities."""
    greedy = hypotheses(run_generate(model.data, model.checkpoint, "--beam", 1, "--lenpen", 0))
    wide = hypotheses(run_generate(model.data, model.checkpoint, "--beam", 5, "--lenpen", 0))
    assert sorted(greedy) == sorted(wide) == list(SENTENCES)
    assert all(len(hypos) == 1 for hypos in greedy.values())
    differences = [wide[number][0].score - greedy[number][0].score for number in SENTENCES]
    assert sum(differences) >= 0 and min(differences) > -1.0
    right = sum(wide[number][0].words == words for number, words in references(beam).items())
    assert right >= 10, "the model of these tests has learned too little"


@pytest.mark.parametrize("args", [["--beam", 1], ["--beam", 5, "--nbest", 3]], ids=["greedy", "beam"])
def test_output_depends_neither_on_the_batch_nor_on_the_side_of_the_padding(model, args):
    """fairseq's `translation` pads the source on the left, `attn_translation` on the right."""
    expected = hypotheses(run_generate(model.data, model.checkpoint, *args, batch_size=1))
    assert sorted(expected) == list(SENTENCES)
    for task, batch_size in (("attn_translation", 30), ("attn_translation", 7), ("translation", 30)):
        output = run_generate(model.data, model.checkpoint, *args, task=task, batch_size=batch_size)
        same(hypotheses(output), expected)
    output = run_generate(model.data, model.checkpoint, "--left-pad-source", *args, batch_size=30)
    same(hypotheses(output), expected)


@pytest.mark.parametrize(
    "args", [[], ["--sampling-topk", 3], ["--sampling-topp", 0.8]], ids=["all words", "top k", "top p"]
)
def test_sampling(model, beam, args):
    """At a temperature that leaves some choice, however well the model has learned."""
    args = ["--sampling", *args, "--temperature", 3, "--beam", 5, "--nbest", 5, "--seed", 3]
    found, again = (hypotheses(run_generate(model.data, model.checkpoint, *args)) for _ in range(2))
    assert found == again
    assert sorted(found) == list(SENTENCES) and all(len(hypos) == 5 for hypos in found.values())
    assert found != hypotheses(beam)
    other = hypotheses(run_generate(model.data, model.checkpoint, *args[:-1], 4))
    assert other != found


def test_sampling_of_the_likeliest_word_is_greedy_search(model):
    greedy = hypotheses(run_generate(model.data, model.checkpoint, "--beam", 1))
    sampled = hypotheses(run_generate(model.data, model.checkpoint, "--beam", 1, "--sampling", "--sampling-topk", 1))
    assert {number: hypos[0].words for number, hypos in sampled.items()} == {
        number: hypos[0].words for number, hypos in greedy.items()
    }


@pytest.mark.parametrize("batch_size", [30, 7])
def test_diverse_beams_start_differently(model, beam, batch_size):
    output = run_generate(
        model.data, model.checkpoint, "--beam", 4, "--nbest", 4,
        "--diverse-beam-groups", 4, "--diverse-beam-strength", 5.0, batch_size=batch_size,
    )  # fmt: skip
    diverse, usual = hypotheses(output), hypotheses(beam)
    assert sorted(diverse) == list(SENTENCES) and all(len(hypos) == 4 for hypos in diverse.values())

    def first_words(found) -> int:
        return sum(len({hypo.words[:1] for hypo in hypos[:4]}) for hypos in found.values())

    assert first_words(diverse) > first_words(usual)


@pytest.mark.parametrize("size", [1, 2])
def test_prefixes_are_kept(model, size):
    output = run_generate(model.data, model.checkpoint, "--beam", 3, "--nbest", 3, "--prefix-size", size)
    found, reference = hypotheses(output), references(output)
    assert sorted(found) == list(SENTENCES)
    for number, hypos in found.items():
        assert [hypo.words[:size] for hypo in hypos] == [reference[number][:size]] * 3 or len(reference[number]) < size


def test_ensemble_of_one_model_twice_is_the_model(model):
    one = hypotheses(run_generate(model.data, model.checkpoint, "--beam", 5))
    two = hypotheses(run_generate(model.data, f"{model.checkpoint}:{model.checkpoint}", "--beam", 5))
    same(two, one)


def test_ensemble_of_two_averages_probabilities(model, second_model):
    """Of the same words, forced by --score-reference."""
    args = ["--score-reference"]
    first = positional_scores(run_generate(model.data, model.checkpoint, *args))
    second = positional_scores(run_generate(model.data, second_model, *args))
    both = positional_scores(run_generate(model.data, f"{model.checkpoint}:{second_model}", *args))
    for number in SENTENCES:
        mean = [math.log2((2**a + 2**b) / 2) for a, b in zip(first[number][0], second[number][0], strict=True)]
        assert both[number][0] == pytest.approx(mean, abs=2e-3)
    output = run_generate(model.data, f"{model.checkpoint}:{second_model}", "--beam", 5)
    assert sorted(hypotheses(output)) == list(SENTENCES)


def test_score_reference_scores_the_reference(model):
    """As the search scored the same words, and with the loss of validation (here on the test set)."""
    output = run_generate(model.data, model.checkpoint, "--score-reference")
    found, reference = hypotheses(output), references(output)
    assert {number: hypos[0].words for number, hypos in found.items()} == reference
    searched = hypotheses(run_generate(model.data, model.checkpoint, "--beam", 1))
    agreed = [number for number in SENTENCES if searched[number][0].words == reference[number]]
    assert len(agreed) >= 10
    for number in agreed:
        assert found[number][0].score == pytest.approx(searched[number][0].score, abs=1e-4)


def test_hard_alignments_point_backwards(model):
    """The corpus is read from its end; a model that attends points there, whatever the padding."""
    expected = None
    for task, batch_size in (("attn_translation", 1), ("attn_translation", 30), ("translation", 30)):
        output = run_generate(
            model.data, model.checkpoint, "--beam", 2, "--print-alignment", "hard", task=task, batch_size=batch_size
        )
        found = {number: rows[0][0].split() for number, rows in lines(output, "A").items()}
        assert sorted(found) == list(SENTENCES)
        expected = expected or found
        assert found == expected
    right = total = 0
    for number, pairs in expected.items():
        length = len(lines(output, "S")[number][0][0].split())
        pairs = [tuple(map(int, pair.split("-"))) for pair in pairs]
        assert [target for _, target in pairs] == list(range(len(pairs)))
        assert all(0 <= source < length for source, _ in pairs)
        right += sum(source == length - 1 - target for source, target in pairs)
        total += len(pairs)
    assert right > 0.6 * total


@pytest.mark.parametrize("tokenizer", ["zh", "char", "none"])
def test_sacrebleu_with_a_tokenizer(model, tokenizer):
    output = run_generate(
        model.data, model.checkpoint, "--beam", 2, "--scoring", "sacrebleu", "--sacrebleu-tokenizer", tokenizer
    )
    reference, found = lines(output, "T"), lines(output, "D")
    score = corpus_bleu(
        [found[number][0][1] for number in SENTENCES], [[reference[number][0][0] for number in SENTENCES]],
        tokenize=tokenizer,
    ).format()  # fmt: skip
    assert output.stdout.splitlines()[-1] == f"Generate test with beam=2: {score}"


@pytest.mark.parametrize("factor, constant", [(0.0, 2), (0.5, 1)])
def test_length_limits(model, factor, constant):
    """The limit is for the longest source of a batch, which counts the end of its sentence."""
    args = ["--max-len-a", factor, "--max-len-b", constant]
    output = run_generate(model.data, model.checkpoint, "--beam", 3, "--nbest", 3, *args, batch_size=1)
    for number, hypos in hypotheses(output).items():
        n = len(lines(output, "S")[number][0][0].split()) + 1
        assert max(len(hypo.words) for hypo in hypos) <= int(factor * n + constant)
    free = hypotheses(run_generate(model.data, model.checkpoint, "--beam", 3, "--nbest", 3))
    assert max(len(hypo.words) for hypos in free.values() for hypo in hypos) > 4


def test_length_penalty_makes_longer(model):
    """At a temperature at which a longer translation is worth a thought, however well the model has learned."""
    lengths = [
        sum(len(hypos[0].words) for hypos in hypotheses(run).values())
        for run in (
            run_generate(model.data, model.checkpoint, "--beam", 5, "--temperature", 3, "--lenpen", lenpen)
            for lenpen in (-2, 1, 4)
        )
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_no_ngram_is_repeated(model):
    """Of one word and of two, which fairseq's own blocks on no CPU."""
    args = ["--beam", 3, "--min-len", 9, "--max-len-b", 12]
    free = hypotheses(run_generate(model.data, model.checkpoint, *args))
    for size in (1, 2):
        found = hypotheses(run_generate(model.data, model.checkpoint, *args, "--no-repeat-ngram-size", size))
        ngrams = {
            number: [best.words[t : t + size] for t in range(len(best.words) - size + 1)]
            for number, (best, *_) in found.items()
        }
        assert all(len(set(rows)) == len(rows) for rows in ngrams.values())
        assert {number: best.words for number, (best, *_) in free.items()} != {
            number: best.words for number, (best, *_) in found.items()
        }
