"""--print-alignment, --replace-unk and guided alignment, through fairseq's commands."""

import random
import re
import shutil
import sys

import pytest
import torch

from tests.helpers import (
    ROOT,
    Refused,
    hypotheses,
    lines,
    random_sentences,
    run_command,
    run_generate,
    run_interactive,
    run_preprocess,
    run_train,
    write_parallel,
)

from .test_distributed import train_as_two

SENTENCES = range(30)


def alignments(output) -> dict:
    """The first alignment of each sentence, as printed."""
    return {number: rows[0][0] for number, rows in lines(output, "A").items()}


def weights(line: str) -> torch.Tensor:
    return torch.tensor([[float(weight) for weight in row.split(",")] for row in line.split()])


def close(found: dict, expected: dict) -> None:
    """Weights that agree but for the rounding of printing."""
    assert found.keys() == expected.keys()
    for number, line in expected.items():
        torch.testing.assert_close(weights(found[number]), weights(line), rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def soft(model):
    return run_generate(model.data, model.checkpoint, "--beam", 3, "--nbest", 2, "--print-alignment", "soft")


def test_soft_alignments_are_in_the_frame_of_the_words(soft):
    """A row for each word of each hypothesis and its end, a column for each source word and its end."""
    for number in SENTENCES:
        source = lines(soft, "S")[number][0][0].split()
        assert len(lines(soft, "A")[number]) == 2
        for hypothesis, row in zip(hypotheses(soft)[number], lines(soft, "A")[number], strict=True):
            found = weights(row[0])
            assert found.shape == (len(hypothesis.words) + 1, len(source) + 1)
            torch.testing.assert_close(found.sum(dim=1), torch.ones(len(found)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [["--left-pad-source"], ["--buffer-size", 64]], ids=["left", "interactive"])
@pytest.mark.parametrize("batch_size", [1, 64])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_neither_batch_nor_padding_nor_command_changes_an_alignment(model, soft, tmp_path, kind, batch_size, options):
    search = "--beam", 3, "--print-alignment", kind
    expected = alignments(run_generate(model.data, model.checkpoint, *search)) if kind == "hard" else alignments(soft)
    if "--buffer-size" in options:
        text = tmp_path / "text"
        text.write_text("".join(f"{lines(soft, 'S')[number][0][0]}\n" for number in SENTENCES))
        output = run_interactive(model.data, model.checkpoint, text, *search, *options, "--batch-size", batch_size)
    else:
        output = run_generate(model.data, model.checkpoint, *search, *options, batch_size=batch_size)
    if kind == "soft":
        close(alignments(output), expected)
    else:
        assert alignments(output) == expected


def test_the_reference_has_an_alignment_too(model, soft):
    """Forced decoding gives a found translation the weights that the search gave it."""
    for kind in ("soft", "hard"):
        searched = run_generate(model.data, model.checkpoint, "--print-alignment", kind)
        forced = run_generate(model.data, model.checkpoint, "--score-reference", "--print-alignment", kind)
        agreed = [n for n in SENTENCES if hypotheses(searched)[n][0].words == hypotheses(forced)[n][0].words]
        assert len(agreed) >= 10
        for number in agreed:
            if kind == "soft":
                close({0: alignments(forced)[number]}, {0: alignments(searched)[number]})
            else:
                assert alignments(forced)[number] == alignments(searched)[number]


def test_an_ensemble_has_the_mean(model, tmp_path):
    run_train(model.data, tmp_path, max_update=50, dropout=0.0, seed=3)
    other = tmp_path / "checkpoint_last.pt"
    options = "--score-reference", "--print-alignment", "soft"
    found = alignments(run_generate(model.data, f"{model.checkpoint}:{other}", *options))
    single = [alignments(run_generate(model.data, path, *options)) for path in (model.checkpoint, other)]
    for number in SENTENCES:
        mean = (weights(single[0][number]) + weights(single[1][number])) / 2
        torch.testing.assert_close(weights(found[number]), mean, rtol=0, atol=2e-5)
    searched = run_generate(model.data, f"{model.checkpoint}:{other}", "--beam", 2, "--print-alignment", "soft")
    assert sorted(alignments(searched)) == list(SENTENCES)


SEARCHES = {
    "diversity": ["--beam", 4, "--nbest", 4, "--diversity-rate", 0.5],
    "groups": ["--beam", 4, "--nbest", 4, "--diverse-beam-groups", 2],
    "sampling": ["--beam", 4, "--nbest", 4, "--sampling", "--seed", 3, "--temperature", 3],
    "prefix": ["--beam", 3, "--nbest", 3, "--prefix-size", 2],
}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_every_search_has_links_of_the_printed_words(model, kind, search):
    """Also where it puts a symbol into the middle of a hypothesis that is never printed, as for <s>."""
    found = run_generate(model.data, model.checkpoint, "--print-alignment", kind, *SEARCHES[search])
    unprinted = 0
    for number, hypos in hypotheses(found).items():
        scores = [row[0].split() for row in lines(found, "P")[number]]
        for hypo, row, of_tokens in zip(hypos, lines(found, "A")[number], scores, strict=True):
            if kind == "hard":
                assert [int(link.split("-")[1]) for link in row[0].split()] == list(range(len(hypo.words)))
            else:
                assert len(weights(row[0])) == len(hypo.words) + 1
            unprinted += len(of_tokens) - 1 - len(hypo.words)
    assert search != "sampling" or unprinted > 0


def test_prefixes_that_hold_the_end_have_the_weights_of_their_words(model):
    """All beams then end in the same words, and fairseq hands on the weights of any."""
    options = "--print-alignment", "soft"
    expected = alignments(run_generate(model.data, model.checkpoint, "--score-reference", *options))
    for size in (4, 9):  # of some of the references, of all
        found = run_generate(model.data, model.checkpoint, "--beam", 4, "--prefix-size", size, *options)
        short = {n: line for n, line in alignments(found).items() if len(lines(found, "T")[n][0][0].split()) < size}
        assert len(short) > 5
        close(short, {number: expected[number] for number in short})


def test_symbols_that_are_not_printed_have_no_column(model, tmp_path):
    text = tmp_path / "text"
    text.write_text("a b\n<s> a </s> b\n")
    output = run_interactive(model.data, model.checkpoint, text, "--print-alignment", "soft", "--buffer-size", 2)
    for number in (0, 1):
        assert lines(output, "S")[number][0][0] == "a b"
        found = weights(alignments(output)[number])
        assert found.size(1) == 3
        torch.testing.assert_close(found.sum(dim=1), torch.ones(len(found)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("replace", [[], ["--replace-unk"]], ids=["", "replace_unk"])
def test_an_empty_line_has_no_links(model, tmp_path, replace):
    """And no word that could replace an unknown one."""
    text = tmp_path / "text"
    text.write_text("a b\n\nc\n")
    options = "--max-len-b", 5, "--buffer-size", 3, *replace
    unknown = "--unkpen", -20  # nothing is likelier than an unknown word
    output = run_interactive(model.data, model.checkpoint, text, *options, *unknown)
    assert set(hypotheses(output)[1][0].words) == {"<unk>"}
    output = run_interactive(model.data, model.checkpoint, text, "--print-alignment", "hard", *options)
    assert alignments(output)[0] and alignments(output)[2]
    assert alignments(output)[1] == "" and hypotheses(output)[1]
    output = run_interactive(model.data, model.checkpoint, text, "--print-alignment", "soft", *options)
    torch.testing.assert_close(
        weights(alignments(output)[1])[:, 0], torch.ones(len(hypotheses(output)[1][0].words) + 1)
    )


def test_an_ensemble_whose_models_know_where_they_read_last(model, tmp_path):
    """The search has the scores and the weights of a forced pass: one model's past is not the ensemble's mean."""
    paths = []
    for seed in (4, 5):
        options = ["--attn-location-filters", "4", "--attn-location-width", "3"]
        run_train(model.data, tmp_path / str(seed), *options, max_update=150, dropout=0.0, seed=seed, lr=0.02)
        paths.append(str(tmp_path / str(seed) / "checkpoint_last.pt"))
    soft = "--print-alignment", "soft"
    searched = run_generate(model.data, ":".join(paths), "--beam", 1, "--prefix-size", 99, *soft)
    forced = run_generate(model.data, ":".join(paths), "--score-reference", *soft)
    for number, (hypo,) in hypotheses(forced).items():
        assert hypotheses(searched)[number][0].words == hypo.words
        assert hypotheses(searched)[number][0].score == pytest.approx(hypo.score, abs=2e-5)


def test_a_model_without_attention_takes_none_away(model, tmp_path):
    """In an ensemble the weights are those of the models that attend."""
    run_train(model.data, tmp_path, "--decoder-attention", "0", max_update=3)
    options = "--score-reference", "--print-alignment", "soft"
    found = run_generate(model.data, f"{model.checkpoint}:{tmp_path / 'checkpoint_last.pt'}", *options)
    close(alignments(found), alignments(run_generate(model.data, model.checkpoint, *options)))


PIECES = {"a": "▁a", "b": "b", "c": "▁c", "d": "d", "e": "e", "f": "▁f"}


@pytest.fixture(scope="module")
def pieces_model(tmp_path_factory):
    """The same pieces on both sides, an untrained model."""
    text, rng = tmp_path_factory.mktemp("pieces"), random.Random(5)
    sentences = [[PIECES[x] for x in sentence] for sentence in random_sentences(rng, list(PIECES), 40, 2, 8)]
    for split, rows in (("train", sentences[:20]), ("valid", sentences[20:30]), ("test", sentences[30:])):
        write_parallel(text / split, [(row, row) for row in rows])
    data = run_preprocess(text, tmp_path_factory.mktemp("pieces_data"))
    run_train(data, text, max_update=3)
    return data, text / "checkpoint_last.pt"


@pytest.mark.parametrize("command", ["generate", "interactive"])
def test_alignments_of_words(pieces_model, tmp_path, command):
    """Sums over the pieces of a source word, means over those of a target word; shapes as --remove-bpe prints them."""
    data, checkpoint = pieces_model
    options = "--print-alignment", "soft", "--max-len-b", 9
    plain = run_generate(data, checkpoint, *options, "--score-reference")
    by_words = run_generate(
        data, checkpoint, *options, "--score-reference", "--alignment-words", "sentencepiece", "--remove-bpe",
        "sentencepiece",
    )  # fmt: skip
    for number, line in alignments(plain).items():
        expected, spans = weights(line), []
        for words in (hypotheses(plain)[number][0].words, lines(plain, "S")[number][0][0].split()):
            starts = [i for i, piece in enumerate(words) if piece.startswith("▁") or i == 0] + [len(words)]
            spans.append(list(zip(starts, [*starts[1:], len(words) + 1], strict=True)))
        expected = torch.stack([expected[:, a:b].sum(dim=1) for a, b in spans[1]], dim=1)
        expected = torch.stack([expected[a:b].mean(dim=0) for a, b in spans[0]])
        torch.testing.assert_close(weights(alignments(by_words)[number]), expected, rtol=0, atol=2e-5)
        source = lines(by_words, "S")[number][0][0].split()
        assert expected.shape == (len(hypotheses(by_words)[number][0].words) + 1, len(source) + 1)
    hard = run_generate(
        data, checkpoint, "--print-alignment", "hard", "--score-reference", "--alignment-words", "sentencepiece"
    )
    for number, line in alignments(hard).items():
        table = weights(alignments(by_words)[number])
        assert line.split() == [f"{int(row[:-1].argmax())}-{t}" for t, row in enumerate(table[:-1])]
    if command == "interactive":
        text = tmp_path / "text"
        text.write_text("▁a b ▁c d e\n\n")
        output = run_interactive(data, checkpoint, text, *options, "--alignment-words", "sentencepiece")
        assert weights(alignments(output)[0]).size(1) == 3
        assert weights(alignments(output)[1]).size(1) == 1  # the end alone


@pytest.fixture(scope="module")
def unknown_words(tmp_path_factory):
    """Word-level: the target is the source backwards, digits are unknown words; and a model that has learned it."""
    text, rng = tmp_path_factory.mktemp("unknown"), random.Random(6)
    rows = random_sentences(rng, "abcdefgh", 700, 1, 6)

    def with_unknown(row):
        return [str(rng.randrange(10**6)) if rng.random() < 0.15 else word for word in row]

    for split, first, last in (("train", 0, 600), ("valid", 600, 650), ("test", 650, 700)):
        write_parallel(text / split, [(row, row[::-1]) for row in map(with_unknown, rows[first:last])])
    limits = "--thresholdsrc", 20, "--thresholdtgt", 20
    data = run_preprocess(text, tmp_path_factory.mktemp("unknown_data"), *limits)
    raw = run_preprocess(
        text, tmp_path_factory.mktemp("unknown_raw"), "--dataset-impl", "raw", "--srcdict", data / "dict.src.txt",
        "--tgtdict", data / "dict.tgt.txt",
    )  # fmt: skip
    run_train(
        data, text, "--encoder-bidirectional", encoder_hidden_size=32, decoder_hidden_size=48, attn_dim=32, lr=0.01,
        batch_size=32, max_update=400, dropout=0.0,
    )  # fmt: skip
    return data, raw, text / "checkpoint_last.pt", text


@pytest.mark.parametrize("alignment", [[], ["--print-alignment", "hard"], ["--print-alignment", "soft"]])
def test_unknown_words_are_replaced_by_what_they_point_at(unknown_words, alignment):
    data, raw, checkpoint, text = unknown_words
    output = run_generate(raw, checkpoint, "--beam", 2, "--replace-unk", *alignment, "--dataset-impl", "raw")
    source = (text / "test.src").read_text().splitlines()
    target = (text / "test.tgt").read_text().splitlines()
    right = total = 0
    for number, hypos in hypotheses(output).items():
        assert "<unk>" not in hypos[0].words
        wanted = {word for word in target[number].split() if word.isdecimal()}
        assert {word for word in hypos[0].words if word.isdecimal()} <= set(source[number].split())
        right += len(wanted & set(hypos[0].words))
        total += len(wanted)
    assert total > 10 and right > 0.8 * total
    answers = run_interactive(data, checkpoint, text / "test.src", "--replace-unk", "--buffer-size", 50, *alignment)
    assert {n: h[0].words for n, h in hypotheses(answers).items()} == {
        n: h[0].words for n, h in hypotheses(output).items()
    }
    assert [lines(answers, "S")[number][0][0] for number in range(50)] == source


def test_unknown_words_are_looked_up(unknown_words, tmp_path):
    data, _, checkpoint, text = unknown_words
    source = tmp_path / "text"
    source.write_text("a 777 b\na 888 b\na 777 b\n")  # alike for the model
    lexicon = tmp_path / "lexicon"
    lexicon.write_text("777 seven\n")
    output = run_interactive(data, checkpoint, source, "--replace-unk", lexicon, "--buffer-size", 3)
    assert [hypotheses(output)[number][0].words[1] for number in range(3)] == ["seven", "888", "seven"]


def test_what_cannot_be_aligned_or_replaced_is_refused(unknown_words, model, tmp_path):
    data, _, checkpoint, _ = unknown_words
    with pytest.raises(Refused, match="--replace-unk requires a raw text dataset"):
        run_generate(data, checkpoint, "--replace-unk")
    for option, name in (
        ("--remove-bpe", "--remove-bpe subword_nmt"),
        ("--alignment-words", "--alignment-words subword_nmt"),
    ):
        value = ["subword_nmt"] if option == "--alignment-words" else []
        (tmp_path / "text").write_text("a\n")
        with pytest.raises(Refused, match=f"--replace-unk is for models of whole words, and {name}"):
            run_interactive(data, checkpoint, tmp_path / "text", "--replace-unk", option, *value)
    run_train(model.data, tmp_path, "--decoder-attention", "0", max_update=3)
    with pytest.raises(
        Refused, match="--print-alignment and --replace-unk go by the attention, and the model has none"
    ):
        run_generate(model.data, tmp_path / "checkpoint_last.pt", "--print-alignment", "soft")


@pytest.fixture(scope="module")
def linked(tmp_path_factory):
    """Sequences and their reversals, with links between the same letters: the folder of the text, and the data."""
    text, rng = tmp_path_factory.mktemp("linked"), random.Random(7)
    rows = random_sentences(rng, "abcdefgh", 700, 3, 7)
    for split, part in (("train", rows[:600]), ("valid", rows[600:650]), ("test", rows[650:])):
        write_parallel(text / split, [(row, row[::-1]) for row in part])
        links = (" ".join(f"{len(row) - 1 - t}-{t}" for t in range(len(row))) for row in part)
        (text / f"{split}.align").write_text("".join(f"{line}\n" for line in links))
    return text, run_preprocess(text, tmp_path_factory.mktemp("linked_data"), "--align-suffix", "align")


def error_rate(linked, folder, *args, **options):
    """Alignment error rate on the test, in percent, after a training that is too short to find the links from words
    alone; and the training's output."""
    text, data = linked
    output = run_train(
        data, folder, "--encoder-bidirectional", *args, max_update=300, lr=0.008, lr_scheduler="inverse_sqrt",
        warmup_updates=50, batch_size=32, dropout=0.0, encoder_hidden_size=32, decoder_hidden_size=48, attn_dim=32,
        **options,
    )  # fmt: skip
    found = run_generate(data, folder / "checkpoint_last.pt", "--score-reference", "--print-alignment", "hard")
    (folder / "found").write_text(found.stdout, encoding="utf-8")
    script = ROOT / "scripts" / "alignment_error_rate.py"
    done = run_command((sys.executable, script, folder / "found", "--gold", text / "test.align"))
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[1]), output


def test_guided_attention_follows_its_links(linked, tmp_path):
    assert error_rate(linked, tmp_path / "plain")[0] > 40
    for name, options, args in (
        ("cross_entropy", {"alignment_loss": "cross_entropy"}, []),
        ("squared_error", {"alignment_loss": "squared_error"}, ["--left-pad-source"]),
    ):
        rate, output = error_rate(linked, tmp_path / name, "--load-alignments", *args, alignment_lambda=1.0, **options)
        assert rate < 5
        losses = [row["valid_alignment_loss"] for row in output.stats("valid")]
        assert losses[-1] < 0.2 * losses[0]


GUIDED = {"alignment_lambda": 1.0, "max_update": 20}


def with_links(linked, folder, change):
    """The data with `change(number, line)` for each line of training's links."""
    text = shutil.copytree(linked[0], folder / "text", ignore=shutil.ignore_patterns("plain", "cross*", "squared*"))
    rows = (text / "train.align").read_text().splitlines()
    rows = [change(number, row) for number, row in enumerate(rows)]
    (text / "train.align").write_text("".join(f"{row}\n" for row in rows if row is not None))
    return run_preprocess(text, folder / "data", "--align-suffix", "align")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda number, row: "", "no line of .*train.align.src-tgt has links"),
        (
            lambda number, row: "0-9",
            "no line of .*train.align.src-tgt has links, but for 600 past a sentence's end",
        ),
        (lambda number, row: row if number else None, ".*train.align.src-tgt has 599 lines for 600 sentences"),
    ],
    ids=["empty", "outside", "short"],
)
def test_links_that_nothing_can_be_learned_from_are_refused(linked, tmp_path, change, message):
    with pytest.raises(Refused, match=f"--load-alignments: {message}"):
        run_train(with_links(linked, tmp_path, change), tmp_path / "model", "--load-alignments", **GUIDED)


def sparse(number: int, row: str) -> str:
    """Links of one sentence in 40; those of one in 200 point past its end."""
    if number % 200 == 0:
        return "0-99"
    return row if number % 40 == 0 else ""


def test_lines_without_links_or_with_wrong_ones_are_left_out(linked, tmp_path):
    data = with_links(linked, tmp_path, sparse)
    output = run_train(data, tmp_path / "model", "--load-alignments", **GUIDED)
    assert re.findall("3 lines of .*train.align.* past the end of their sentence and are left out", output.log)
    assert "skipping alignment" not in output.log
    assert output.stats("valid")[-1]["valid_alignment_loss"] > 0


def test_two_processes_of_which_one_has_no_links_train_as_one(linked, tmp_path):
    data = with_links(linked, tmp_path, sparse)
    options = {"alignment_lambda": 1.0, "dropout": 0.0, "lr": 0.002, "batch_size": 8, "max_update": 0, "max_epoch": 1}
    one = run_train(data, tmp_path / "one", "--load-alignments", update_freq=2, **options)
    two = train_as_two(data, tmp_path / "two", "--load-alignments", **options)
    for kind, name in (("train", "train_loss"), ("train", "train_alignment_loss"), ("valid", "valid_alignment_loss")):
        expected, found = ([row[name] for row in output.stats(kind)] for output in (one, two))
        assert found == pytest.approx(expected, abs=1.01e-3) and found, name


def test_links_in_text_are_refused(linked, tmp_path):
    raw = run_preprocess(linked[0], tmp_path / "raw", "--align-suffix", "align", "--dataset-impl", "raw")
    with pytest.raises(Refused, match="--load-alignments reads binary data alone: not --dataset-impl raw"):
        run_train(raw, tmp_path / "model", "--load-alignments", "--dataset-impl", "raw", **GUIDED)


def test_links_that_are_not_there_are_missed(data, tmp_path):
    with pytest.raises(Refused, match="--load-alignments: no .*train.align.src-tgt: make it .*--align-suffix"):
        run_train(data, tmp_path, "--load-alignments", alignment_lambda=1.0)
    with pytest.raises(Refused, match="--alignment-lambda 1.0 goes with --task attn_translation --load-alignments"):
        run_train(data, tmp_path, alignment_lambda=1.0)
