"""`python -m s2s_plugin shortlist`, and what searches over it find."""

import shutil
import subprocess
import sys

import pytest
import torch

from s2s_plugin import Translator
from tests.helpers import ROOT, Refused, hypotheses, run_generate, run_train

from .test_translator import folder, lines, words_of  # noqa: F401


def command(*args) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "s2s_plugin", "shortlist", *map(str, args)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)


@pytest.fixture(scope="module")
def listed(model, folder, tmp_path_factory):  # noqa: F811
    """The folder with a shortlist."""
    own = tmp_path_factory.mktemp("listed") / "model"
    shutil.copytree(folder, own)
    done = command("--model", own, "--data", model.data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{own}/shortlist: ")
    return own


def test_candidates_are_what_the_words_became(model, listed):
    """The corpus writes each letter as a word of its own."""
    best = {}
    for line in (listed / "shortlist").read_text().splitlines():
        source, target, weight = line.split(" ")
        assert 0 < float(weight) <= 1
        best.setdefault(source, target)
    from .conftest import WORDS

    letters = {letter: best[letter] for letter in WORDS}
    assert sum(letters[letter] == word for letter, word in WORDS.items()) >= 10


def test_the_sizes_are_the_tasks_and_not_those_of_training(listed, tmp_path):
    own = tmp_path / "model"
    shutil.copytree(listed, own)
    state = torch.load(own / "model.pt", weights_only=True)
    state["cfg"]["task"].update(shortlist_size=7, shortlist_first=8)
    torch.save(state, own / "model.pt")
    task = Translator.load(own).task
    assert task.lexicon.table.size(1) == 50 and task.lexicon.first == task.target_dictionary.nspecial + 1000


def test_with_all_words_it_is_the_search_over_all(folder, listed, lines):  # noqa: F811
    whole, short = Translator.load(folder), Translator.load(listed)
    assert whole.task.lexicon is None and short.task.lexicon is not None
    short.task.read_lexicon(listed / "shortlist", 50, len(short.task.target_dictionary))
    expected, found = whole.translate(lines, n_best=3), short.translate(lines, n_best=3)
    assert words_of(found) == words_of(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.hypotheses[0].score == pytest.approx(other.hypotheses[0].score, abs=1e-4)
        torch.testing.assert_close(one.hypotheses[0].attention, other.hypotheses[0].attention, atol=1e-5, rtol=1e-3)
    assert Translator.load(listed, shortlist=False).task.lexicon is None


@pytest.mark.parametrize("compute_dtype", ["float32", "bfloat16", "int8"])
def test_a_short_list_holds_in_any_batch(listed, lines, compute_dtype):  # noqa: F811
    translator = Translator.load(listed, compute_dtype=compute_dtype)
    translator.task.read_lexicon(listed / "shortlist", 1, 1)
    target, source = translator.task.target_dictionary, translator.task.source_dictionary
    found = translator.translate(lines)
    for one in found:
        tokens = source.encode_line(" ".join(one.source_pieces), add_if_not_exist=False).long()
        shortlist = translator.task.lexicon.of_batch(tokens[None])
        allowed = {target[index] for index in shortlist.ids.tolist()}
        assert len(allowed) < len(target) and set(one.hypotheses[0].pieces) <= allowed
    if compute_dtype == "float32":
        alone = [translator.translate([line])[0] for line in lines]
        assert words_of(alone) == words_of(found)
        for one, other in zip(alone, found, strict=True):
            assert one.hypotheses[0].score == pytest.approx(other.hypotheses[0].score, abs=1e-4)


def test_the_pipe_goes_by_it_unless_told(listed, lines):  # noqa: F811
    (listed / "shortlist").rename(listed / "kept")
    (listed / "shortlist").write_text("no list\n")
    words = [sys.executable, "-m", "s2s_plugin", "translate", "--model", str(listed)]
    options = {"cwd": ROOT, "capture_output": True, "encoding": "utf-8", "timeout": 120, "input": f"{lines[0]}\n"}
    done = subprocess.run(words, **options)
    whole = subprocess.run([*words, "--no-shortlist"], **options)
    (listed / "kept").replace(listed / "shortlist")
    assert done.returncode == 1 and "line 1: 'no list' is no source, target and weight" in done.stderr
    assert whole.returncode == 0 and whole.stdout.strip()


def test_fairseq_generate_takes_it(model, listed, lines):  # noqa: F811
    args = ["--beam", 3, "--lenpen", 1.2, "--max-len-a", 2, "--max-len-b", 10]
    short = ["--shortlist", listed / "shortlist", "--shortlist-size", 2, "--shortlist-first", 2]
    found = hypotheses(run_generate(model.data, model.checkpoint, *args, *short, "--print-alignment"))
    translator = Translator.load(listed)
    translator.task.read_lexicon(listed / "shortlist", 2, 2)
    assert [rows[0].words for _, rows in sorted(found.items())] == [
        rows[0] for rows in words_of(translator.translate(lines))
    ]
    both = hypotheses(run_generate(model.data, f"{model.checkpoint}:{model.checkpoint}", *args, *short))
    assert {n: rows[0].words for n, rows in both.items()} == {n: rows[0].words for n, rows in found.items()}


def test_what_cannot_go_together_is_refused(model, data, joined_data, listed, tmp_path):
    short = ["--shortlist", listed / "shortlist"]
    for args, message in (
        (["--score-reference"], "--shortlist is for a search, and --score-reference is none"),
        (["--prefix-size", 1], "--shortlist: prefixes and constraints may hold any word"),
        (["--shortlist-size", 0], "--shortlist-size 0: must be at least 1"),
    ):
        with pytest.raises(Refused, match=message):
            run_generate(model.data, model.checkpoint, *short, *args)
    run_train(data, tmp_path / "lstm", arch="lstm", max_update=2, criterion="label_smoothed_cross_entropy")
    with pytest.raises(Refused, match="--shortlist is for models of attn_rnn_s2s"):
        run_generate(data, tmp_path / "lstm" / "checkpoint_last.pt", *short)
    run_train(data, tmp_path / "copies", "--copy-attn", max_update=2)
    with pytest.raises(Refused, match="--shortlist: a model that copies needs the whole vocabulary"):
        run_generate(data, tmp_path / "copies" / "checkpoint_last.pt", *short)
    run_train(
        data, tmp_path / "adaptive", "--adaptive-softmax-cutoff", "5,8", max_update=2, criterion="adaptive_loss",
        ddp_backend="legacy_ddp",
    )  # fmt: skip
    with pytest.raises(Refused, match="--shortlist: a model with an adaptive softmax needs the whole vocabulary"):
        run_generate(data, tmp_path / "adaptive" / "checkpoint_last.pt", *short)


def test_the_command_says_what_is_wrong(model, folder, tmp_path):  # noqa: F811
    for args, message in (
        (["--model", tmp_path, "--data", model.data], "there is no model.pt"),
        (["--model", folder, "--data", tmp_path], "Dataset not found: train"),
        (["--model", folder, "--data", model.data, "--size", 0], "--size 0: must be at least 1"),
    ):
        done = command(*args, "--output", tmp_path / "list")
        assert done.returncode == 1 and done.stderr.startswith("error: ") and message in done.stderr
    assert not (tmp_path / "list").exists()
