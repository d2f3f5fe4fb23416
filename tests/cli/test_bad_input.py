"""Bad input ends with a message that names it, before anything is trained, and leaves what was there as it was."""

import re
import shutil
from pathlib import Path

import pytest

from tests.helpers import (
    CRITERION,
    Refused,
    digests,
    hypotheses,
    run_generate,
    run_interactive,
    run_train,
)

TOKENIZERS = ["13a", "zh", "char", "intl", "none"]
BAD_OPTIONS = {
    "encoder cell": (["--encoder-cell", "lstn"], ["--encoder-cell", "lstn", "tanh", "gru", "lstm"]),
    "decoder cell": (["--decoder-cell", "rnn"], ["--decoder-cell", "rnn", "tanh", "gru", "lstm"]),
    "bridge": (["--decoder-bridge", "first"], ["--decoder-bridge", "first", "zero", "last", "mean"]),
    "tokenizer": (
        ["--eval-bleu", "--eval-bleu-tokenizer", "chinese"], ["--eval-bleu-tokenizer", "chinese", *TOKENIZERS]
    ),
    "attention switch": (["--decoder-attention", "bahdanau"], ["--decoder-attention", "bahdanau", "1", "0"]),
    "sees nothing": (["--decoder-attention", "0", "--decoder-bridge", "zero"], ["attention", "bridge", "zero"]),
    "width of an attention that is none": (
        ["--decoder-attention", "0", "--attn-mode", "parallel"], ["--attn-mode", "--decoder-attention 0"]
    ),
    "no layers": (["--encoder-layers", "0"], ["layers", "0"]),
    "negative size": (["--decoder-hidden-size", "-3"], ["hidden_size", "-3"]),
    "dropout": (["--dropout", "1.5"], ["dropout", "1.5"]),
    "shared output of another width": (
        ["--share-decoder-input-output-embed", "--decoder-out-embed-dim", "20"],
        ["--decoder-embed-dim", "16", "--decoder-out-embed-dim", "20"],
    ),
    "two dictionaries shared": (["--share-all-embeddings"], ["--share-all-embeddings", "--joined-dictionary"]),
    "adaptive softmax, our criterion": (
        ["--adaptive-softmax-cutoff", "5,10"], ["--adaptive-softmax-cutoff", "adaptive_loss"]
    ),
    "adaptive softmax, fairseq's criterion": (
        ["--adaptive-softmax-cutoff", "5,10", "--criterion", "label_smoothed_cross_entropy"],
        ["--adaptive-softmax-cutoff", "adaptive_loss", "not label_smoothed_cross_entropy"],
    ),
    "adaptive softmax and copying": (
        ["--adaptive-softmax-cutoff", "5,10", "--copy-attn"], ["--copy-attn", "--adaptive-softmax-cutoff"]
    ),
    "copying without attention": (
        ["--decoder-attention", "0", "--copy-attn"], ["--copy-attn", "--decoder-attention 0"]
    ),
    "coverage without attention": (
        ["--decoder-attention", "0", "--coverage-attn"], ["--coverage-attn", "--decoder-attention 0"]
    ),
    "filters without attention": (
        ["--decoder-attention", "0", "--attn-location-filters", "3"], ["--attn-location-filters", "--decoder-attention"]
    ),
    "filters without a middle": (
        ["--attn-location-filters", "3", "--attn-location-width", "4"], ["--attn-location-width 4", "odd"]
    ),
    "a width of no filters": (
        ["--attn-location-width", "5"], ["--attn-location-width 5", "--attn-location-filters"]
    ),
    "a form of guidance": (["--alignment-loss", "hinge"], ["--alignment-loss", "hinge", "cross_entropy"]),
    "guidance without links": (["--alignment-lambda", "1"], ["--alignment-lambda 1", "--load-alignments"]),
    "pieces": (["--alignment-words", "wordpiece"], ["--alignment-words", "wordpiece", "sentencepiece"]),
    "a tokenizer without its BLEU": (["--eval-bleu-tokenizer", "zh"], ["--eval-bleu-tokenizer zh", "--eval-bleu"]),
    "a negative weight": (["--coverage-lambda", "-1"], ["--coverage-lambda -1"]),
    "another loss beside accuracy": (
        ["--coverage-lambda", "5", "--report-accuracy"], ["--coverage-lambda 5", "--report-accuracy"]
    ),
    "our criterion, another architecture": (
        ["--arch", "lstm"], [CRITERION, "--arch attn_rnn_s2s"]
    ),
}  # fmt: skip
BAD_JOINED_OPTIONS = {
    "shared embeddings of two widths": (
        ["--encoder-embed-dim", "12", "--decoder-embed-dim", "16"],
        ["--share-all-embeddings", "--encoder-embed-dim", "12", "--decoder-embed-dim", "16"],
    ),
    "shared output of another width": (
        ["--decoder-out-embed-dim", "20"],
        ["--decoder-embed-dim", "16", "--decoder-out-embed-dim", "20"],
    ),
}


def assert_refused(words, call) -> Refused:
    """The message holds the words, in any order, and no Python assertion or lookup that failed by chance."""
    with pytest.raises(Refused) as refused:
        call()
    message = str(refused.value)
    last = message.strip().splitlines()[-1]
    for word in words:
        assert word in last, message
    assert not re.match("AssertionError|KeyError|AttributeError|TypeError|IndexError", last), message
    return refused.value


def refuse_training(words, data, save_dir, *args, **options) -> None:
    """A refused fairseq-train has made no update and saved nothing."""
    before = digests(save_dir)
    error = assert_refused(words, lambda: run_train(data, save_dir, *args, **options))
    assert "end of epoch" not in error.log and "Saved checkpoint" not in error.log
    assert digests(save_dir) == before


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_option(name, data, tmp_path):
    args, words = BAD_OPTIONS[name]
    options = {"arch": "lstm"} if "lstm" in args else {}
    refuse_training(words, data, tmp_path / "model", *args, **options)


@pytest.mark.parametrize("name", BAD_JOINED_OPTIONS)
def test_bad_option_of_shared_embeddings(name, joined_data, tmp_path):
    args, words = BAD_JOINED_OPTIONS[name]
    refuse_training(words, joined_data, tmp_path / "model", "--share-all-embeddings", *args)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
@pytest.mark.parametrize(
    "content, words",
    [
        (None, ["no file", "vectors"]),
        ("2 3\na 1 2 3\nb 1 2 3\n", ["vectors", "3", "16"]),
        ("", ["vectors"]),
        ("2 16\na 1 2 three\n", ["vectors"]),
    ],
    ids=["missing", "other width", "empty", "no numbers"],
)
def test_bad_pretrained_embeddings(side, content, words, data, tmp_path):
    path = tmp_path / "vectors"
    if content is not None:
        path.write_text(content)
    options = {f"{side}_embed_path": path}
    refuse_training([*words, str(path)], data, tmp_path / "model", **options)


def test_a_model_with_pretrained_embeddings_needs_their_file_only_to_start(data, tmp_path):
    """They are in the checkpoint."""
    path = tmp_path / "vectors"
    path.write_text("1 16\na " + " ".join(["0.5"] * 16) + "\n")
    run_train(data, tmp_path / "model", encoder_embed_path=path)
    expected = hypotheses(run_generate(data, tmp_path / "model" / "checkpoint_last.pt"))
    path.unlink()
    assert hypotheses(run_generate(data, tmp_path / "model" / "checkpoint_last.pt")) == expected


# --- dictionaries ---


def change_dictionary(data, folder: Path, language: str, change) -> Path:
    """A copy of the preprocessed data whose dictionary of `language` has other lines."""
    shutil.copytree(data, folder)
    path = folder / f"dict.{language}.txt"
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
    return folder


CHANGES = {
    "fewer symbols": lambda rows: rows[:-3],
    "more symbols": lambda rows: [*rows, *(f"new{index} 1" for index in range(8))],
    "other symbols": lambda rows: [f"other {rows[0].split()[1]}", *rows[1:]],
    "other order": lambda rows: rows[::-1],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("language, side", [("src", "source"), ("tgt", "target")])
def test_dictionary_that_does_not_match_the_checkpoint(change, language, side, data, model, tmp_path):
    other = change_dictionary(data, tmp_path / "other", language, CHANGES[change])
    source = tmp_path / "source"
    source.write_text("a b\n")
    words = [f"the {side} dictionary", "checkpoint", "dict.*.txt"]
    assert_refused(words, lambda: run_generate(other, model.checkpoint))
    assert_refused(words, lambda: run_interactive(other, model.checkpoint, source))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("language, side", [("src", "source"), ("tgt", "target")])
def test_training_does_not_resume_with_another_dictionary(change, language, side, data, tmp_path):
    other = change_dictionary(data, tmp_path / "other", language, CHANGES[change])
    run_train(data, tmp_path / "model", max_update=5)
    before = digests(tmp_path / "model")
    with pytest.raises(Refused) as refused:
        run_train(other, tmp_path / "model", max_update=10)
    # fairseq adds a line of its own where the sizes differ.
    assert f"the {side} dictionary" in str(refused.value) and "checkpoint" in str(refused.value)
    assert "end of epoch" not in refused.value.log
    assert digests(tmp_path / "model") == before
    # With the dictionary of its training it still goes on.
    output = run_train(data, tmp_path / "model", max_update=10)
    assert output.stats("valid")[-1]["valid_num_updates"] == 10


def test_stock_task_notices_a_dictionary_of_another_size(data, model, tmp_path):
    other = change_dictionary(data, tmp_path / "other", "tgt", CHANGES["more symbols"])
    words = ["the target dictionary", "24", "16"]
    assert_refused(words, lambda: run_generate(other, model.checkpoint, task="translation"))


# --- an existing model ---


@pytest.mark.parametrize(
    "options", [{"encoder_cell": "lstn"}, {"decoder_hidden_size": 40}, {"arch": "attn_rnn_s2s_vanilla"}], ids=str
)
def test_a_refused_run_leaves_the_checkpoints_as_they_were(options, data, tmp_path):
    run_train(data, tmp_path, max_update=5)
    before = digests(tmp_path)
    with pytest.raises(Refused):
        run_train(data, tmp_path, max_update=10, **options)
    assert digests(tmp_path) == before
    assert sorted(hypotheses(run_generate(data, tmp_path / "checkpoint_last.pt"))) == list(range(30))


def test_missing_data_is_named(tmp_path, model):
    folder = tmp_path / "nowhere"
    refuse_training([str(folder)], folder, tmp_path / "model")
    assert_refused([str(folder)], lambda: run_generate(folder, model.checkpoint))
