"""`Translator` and `python -m s2s_plugin translate`: what fairseq-generate says, in any batch, order and thread."""

import itertools
import json
import math
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator

from s2s_plugin import Translator
from s2s_plugin.checkpoints import CheckpointError
from s2s_plugin.tasks.best_words import BestWordsGenerator
from s2s_plugin.translator import clean, read_search
from tests.helpers import ROOT, hypotheses, run_generate, run_train
from tests.scripts.loading import load_script


def fill_folder(folder, checkpoint, data) -> None:
    """As a recipe leaves it, of words between spaces."""
    folder.mkdir()
    for side in ("src", "tgt"):
        shutil.copy(Path(data) / f"dict.{side}.txt", folder)
    shutil.copy(checkpoint, folder / "model.pt")
    (folder / "languages").write_text("src_lang=src\ntgt_lang=tgt\n")
    (folder / "search").write_text("--max-len-a 2 --max-len-b 10 --beam 4 --lenpen 1.2 --beam 3\n")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("translator") / "model"
    fill_folder(folder, model.checkpoint, model.data)
    return folder


@pytest.fixture(scope="module")
def translator(folder):
    return Translator.load(folder)


@pytest.fixture(scope="module")
def lines(text):
    return (text / "test.src").read_text().splitlines()


def words_of(translations) -> list:
    return [tuple(tuple(hypothesis.pieces) for hypothesis in one.hypotheses) for one in translations]


def test_it_says_what_fairseq_generate_says(model, translator, lines):
    args = ["--beam", 3, "--nbest", 3, "--lenpen", 1.2, "--max-len-a", 2, "--max-len-b", 10]
    expected = hypotheses(run_generate(model.data, model.checkpoint, *args))
    found = translator.translate(lines, n_best=3)
    assert [one.source for one in found] == lines
    for number, one in enumerate(found):
        assert [hypothesis.text.split() for hypothesis in one.hypotheses] == [list(h.words) for h in expected[number]]
        for ours, theirs in zip(one.hypotheses, expected[number], strict=True):
            assert ours.score / math.log(2) == pytest.approx(theirs.score, abs=2e-4)
            assert sum(ours.token_scores) / len(ours.token_scores) ** 1.2 == pytest.approx(ours.score, abs=1e-4)


def test_attention_is_that_of_the_line_alone(translator, lines):
    together = translator.translate(lines)
    for one in together[:8]:
        best, alone = one.hypotheses[0], translator.translate([one.source])[0].hypotheses[0]
        assert best.attention.shape == (len(best.pieces) + 1, len(one.source_pieces) + 1)
        torch.testing.assert_close(best.attention, alone.attention, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(best.attention.sum(dim=1), torch.ones(len(best.pieces) + 1))
        places = best.attention[:-1, :-1].argmax(dim=1).tolist()
        assert best.alignment == list(zip(places, range(len(best.pieces)), strict=True))


def test_no_batch_changes_a_translation(translator, lines):
    whole = words_of(translator.translate(lines))
    assert words_of(translator.translate(lines, max_tokens=9)) == whole
    assert words_of(translator.translate(lines[::-1]))[::-1] == whole
    assert words_of(translator.stream(iter(lines), buffer=7)) == whole


def test_a_stream_has_no_end(translator):
    endless = translator.stream(itertools.cycle(["a b", "", "c"]), buffer=3)
    first = list(itertools.islice(endless, 7))
    assert [one.source for one in first] == ["a b", "", "c", "a b", "", "c", "a b"]
    assert first[0].text == first[3].text != ""


def test_lines_that_are_hardly_any(translator):
    ugly = ["", " \t ", "a \x00 b\u2028", "zebra 未见过", "a b"]
    found = translator.translate(ugly)
    assert [len(one.hypotheses) for one in found] == [0, 0, 1, 1, 1]
    assert found[0].text == "" and found[2].source_pieces == ["a", "b"] and found[2].text == found[4].text
    assert translator.translate([]) == [] and translator.translate(iter(["a b"]))[0].text == found[4].text
    assert clean(" a\x07b \t c ") == "a b c"


def test_a_long_line_is_named_or_left_out(translator):
    lines = ["a b", "a " * 30, "c"]
    with pytest.raises(ValueError, match="line 2: 30 pieces and the end, more than 20"):
        translator.translate(lines, max_tokens=20)
    found = translator.translate(lines, max_tokens=20, skip_too_long=True)
    assert [len(one.hypotheses) for one in found] == [1, 0, 1]


def test_a_line_of_too_many_characters_is_not_split(translator, monkeypatch):
    monkeypatch.setattr("s2s_plugin.translator.MOST_CHARACTERS", 50)
    monkeypatch.setattr(translator, "encoder", None)
    with pytest.raises(ValueError, match="line 2: more than 50 characters"):
        translator.translate(["a", "b " * 26])
    found = translator.translate(["a", "b " * 26, " \x00\n" * 20, "a"], skip_too_long=True)
    assert [one.too_long for one in found] == ["", "more than 50 characters", "", ""]
    assert [len(one.hypotheses) for one in found] == [1, 0, 0, 1] and found[1].source_pieces == []


def test_a_word_that_looks_like_a_special_symbol_is_unknown(translator):
    found = translator.translate(["a </s> b", "a <pad> b", "a <s> b", "a zebra b", "<pad>", "\ud800 a"])
    assert len({tuple(one.hypotheses[0].pieces) for one in found[:4]}) == 1
    for one in found:
        best = one.hypotheses[0]
        assert best.attention.shape == (len(best.pieces) + 1, len(one.source_pieces) + 1)
    assert found[5].source_pieces == ["\ufffd", "a"]


def test_a_piece_may_hold_any_character(translator, monkeypatch):
    class Pieces:
        def encode(self, text, out_type):
            return ["a", "\u3000", "b c", "\u2028d", ""]

    monkeypatch.setattr(translator, "encoder", Pieces())
    one = translator.translate(["anything"])[0]
    assert one.hypotheses[0].attention.shape[1] == len(one.source_pieces) + 1 == 6


def test_the_longest_translation_is_that_of_the_line_alone(translator):
    lines = ["a", "b c d e f g h i j k l a b c", "c d", "d e", "e f g"]
    for options in ({"max_len_a": 2, "max_len_b": 1, "min_len": 6}, {"max_len_a": 1.5, "max_len_b": 0, "min_len": 40}):
        together = translator.translate(lines, **options)
        alone = [translator.translate([line], **options)[0] for line in lines]
        assert words_of(together) == words_of(alone)
        for one in together:
            longest = int(options["max_len_a"] * (len(one.source_pieces) + 1) + options["max_len_b"])
            assert min(options["min_len"], longest) <= len(one.hypotheses[0].pieces) <= longest


def test_options_of_the_search_hold(translator, lines):
    assert translator.search == {"max_len_a": 2.0, "max_len_b": 10, "beam": 3, "lenpen": 1.2}
    assert len(translator.translate(lines[:1], beam=6, n_best=6)[0].hypotheses) == 6
    assert all(len(one.hypotheses[0].pieces) <= 2 for one in translator.translate(lines, max_len_a=0, max_len_b=2))
    assert all(len(one.hypotheses[0].pieces) >= 5 for one in translator.translate(lines, min_len=5))
    twice = translator.translate(["a a a a"], min_len=8, no_repeat_ngram_size=2)[0].hypotheses[0].pieces
    assert len(set(itertools.pairwise(twice))) == len(twice) - 1
    far, near = (translator.translate(lines, unkpen=penalty, beam=12)[0].hypotheses for penalty in (1e4, -1e4))
    assert "<unk>" in near[0].pieces and "<unk>" not in far[0].pieces


@pytest.mark.parametrize(
    "options, message",
    [
        ({"beam": 0}, "beam 0: must be a whole number of at least 1"),
        ({"beam": 2.5}, "beam 2.5: must be a whole number of at least 1"),
        ({"lenpen": "long"}, "lenpen long: must be a number of at least 0"),
        ({"width": 3}, "unknown option 'width' of the search: choose from beam, lenpen, unkpen, max_len_a"),
        ({"n_best": 4}, "n_best 4: from 1 to the beam, which is 3"),
        ({"max_tokens": 0}, "max_tokens 0: must be at least 1"),
    ],
)
def test_options_that_cannot_be_are_refused(translator, options, message):
    with pytest.raises(ValueError, match=message):
        translator.translate(["a"], **options)


def test_one_string_is_no_list(translator):
    with pytest.raises(TypeError, match="not one string"):
        translator.translate("a b c")


def test_threads_take_turns(translator, lines):
    whole = words_of(translator.translate(lines))
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda k: words_of(translator.translate(lines[k:])), range(6)))
    assert found == [whole[k:] for k in range(6)]


def test_a_sentencepiece_model_splits_the_source(model, folder, tmp_path):
    import sentencepiece

    own = tmp_path / "model"
    shutil.copytree(folder, own)
    sentences = iter(["a b c d e f g h i j k l"] * 20)
    with (own / "src.model").open("wb") as writer:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences, model_writer=writer, vocab_size=16, model_type="char", minloglevel=2,
            user_defined_symbols=list("abcdefghijkl"), add_dummy_prefix=False,
        )  # fmt: skip
    loaded = Translator.load(own)
    one = loaded.translate(["abc"])[0]
    assert one.source_pieces == ["a", "b", "c"]
    # Pieces are put together as sentencepiece's.
    plain = Translator.load(folder).translate(["a b c"])[0]
    assert one.text == plain.text.replace(" ", "") and one.hypotheses[0].pieces == plain.hypotheses[0].pieces


def test_a_model_without_attention_has_no_alignment(data, folder, tmp_path):
    run_train(data, tmp_path, "--decoder-attention", "0", max_update=5)
    own = tmp_path / "model"
    shutil.copytree(folder, own)
    shutil.copy(tmp_path / "checkpoint_last.pt", own / "model.pt")
    best = Translator.load(own).translate(["a b c"])[0].hypotheses[0]
    assert best.attention is None
    with pytest.raises(ValueError, match="the model has no attention"):
        _ = best.alignment


def test_the_arithmetic_can_be_chosen(folder):
    assert Translator.load(folder).model.decoder.compute_dtype == "float32"
    assert Translator.load(folder, compute_dtype="bfloat16").model.decoder.compute_dtype == "bfloat16"
    with pytest.raises(ValueError, match="float16"):
        Translator.load(folder, compute_dtype="float16")


def spoiled(folder, own, name: str, text: str | None) -> Path:
    shutil.copytree(folder, own)
    if text is None:
        (own / name).unlink()
    else:
        (own / name).write_text(text)
    return own


@pytest.mark.parametrize(
    "name, content, kind, message",
    [
        ("model.pt", None, FileNotFoundError, "there is no model.pt; give the folder `model` that a recipe made"),
        ("languages", None, FileNotFoundError, "there is no languages"),
        ("dict.tgt.txt", None, FileNotFoundError, "there is no dict.tgt.txt"),
        ("languages", "src_lang=src\n", ValueError, "no line tgt_lang=LANG"),
        ("search", "--beam 3 --lenpen", ValueError, "'--beam 3 --lenpen' are no options with a value each"),
        ("search", "--beam few", ValueError, "search: beam few: must be a whole number of at least 1"),
        ("model.pt", "text", CheckpointError, "model.pt is empty, truncated or not a checkpoint"),
        ("dict.src.txt", "x 1\ny 1\n", ValueError, "the source dictionary is not the one"),
    ],
)
def test_a_folder_that_is_none_is_refused(folder, tmp_path, name, content, kind, message):
    with pytest.raises(kind, match=message):
        Translator.load(spoiled(folder, tmp_path / "model", name, content))


def test_a_device_that_is_not_there_is_refused(folder):
    with pytest.raises(ValueError, match="device abacus: "):
        Translator.load(folder, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device cuda: PyTorch sees no GPU here"):
            Translator.load(folder, device="cuda")


def test_the_last_of_two_options_in_a_folder_rules(tmp_path):
    (tmp_path / "search").write_text("--beam 4 --max-len-a 1.5 --beam 2")
    assert read_search(tmp_path / "search") == {"beam": 2, "max_len_a": 1.5}


def command(*args, **options) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "s2s_plugin", *map(str, args)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120, **options)


def test_the_command_gives_a_line_for_a_line(folder, translator, lines):
    stdin = "\n".join([*lines[:5], "", "a " * 50, lines[5]])
    done = command("translate", "--model", folder, "--max-tokens", 40, "--threads", 1, input=stdin)
    assert done.returncode == 0, done.stderr
    texts = [one.text for one in translator.translate(lines[:6])]
    assert done.stdout.split("\n") == [*texts[:5], "", "", texts[5], ""]
    assert done.stderr == "warning: line 7 is left out: 50 pieces and the end, more than 40\n"


def test_the_command_tells_all_in_json(folder, translator, lines):
    args = ["translate", "--model", folder, "--json", "--n-best", 2, "--beam", 2, "--lenpen", 0]
    done = command(*args, input="\n".join(lines[:3]) + "\n")
    assert done.returncode == 0, done.stderr
    expected = translator.translate(lines[:3], n_best=2, beam=2, lenpen=0)
    for row, one in zip(map(json.loads, done.stdout.splitlines()), expected, strict=True):
        assert row["source"] == one.source and row["pieces"] == one.source_pieces
        for said, best in zip(row["hypotheses"], one.hypotheses, strict=True):
            assert said["text"] == best.text and said["pieces"] == best.pieces
            assert said["score"] == pytest.approx(best.score, abs=1e-4)
            assert [tuple(pair) for pair in said["alignment"]] == best.alignment


def test_the_command_answers_before_the_next_line(folder, translator):
    words = [sys.executable, "-m", "s2s_plugin", "translate", "--model", str(folder)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as child:
        watchdog = threading.Timer(100, child.kill)
        watchdog.start()
        for line in ("a b c", "", "d e"):
            child.stdin.write(line + "\n")
            child.stdin.flush()
            assert child.stdout.readline() == translator.translate([line])[0].text + "\n"
        child.stdin.close()
        assert child.wait() == 0
        watchdog.cancel()


def test_the_command_ends_in_peace_while_its_input_is_open(folder):
    words = [sys.executable, "-m", "s2s_plugin", "translate", "--model", str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=ROOT, encoding="utf-8", **pipes) as child:  # nobody reads any more
        child.stdin.write("a b\n")
        child.stdin.flush()
        child.stdout.readline()
        child.stdout.close()
        child.stdin.write("a b\n")
        child.stdin.flush()
        assert child.wait(100) == 0 and "Fatal" not in child.stderr.read()
    # Ctrl-C, which a shell's job in the background ignores, and with it what it starts.
    pipes["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(words, cwd=ROOT, encoding="utf-8", **pipes) as child:
        child.stdin.write("a b\n")
        child.stdin.flush()
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(100) == 130 and "Fatal" not in child.stderr.read()


@pytest.mark.parametrize(
    "args, message",
    [
        (["--n-best", 2], "--n-best 2 needs --json"),
        (["--n-best", 9, "--json"], "n_best 9: from 1 to the beam, which is 3"),
        (["--beam", 0], "beam 0: must be a whole number of at least 1"),
        (["--max-tokens", 0], "max_tokens 0: must be at least 1"),
        (["--threads", -1], "--threads -1: must not be negative"),
        (["--compute-dtype", "int3"], "int3"),
    ],
)
def test_the_command_says_what_is_wrong(folder, args, message):
    done = command("translate", "--model", folder, *args, input="a\n")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and message in done.stderr and "Traceback" not in done.stderr


def test_without_a_command_it_prints_its_folder():
    assert Path(command().stdout.strip()).samefile(ROOT / "s2s_plugin")
    names = "translate, quantize, pack, shortlist, export"
    lines = command("--help").stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == names.split(", ")
    done = command("transcribe")
    assert done.returncode == 1
    assert done.stderr == f"error: unknown command transcribe; the commands are: {names}\n"


def test_the_benchmark_measures_every_search(folder, text):
    args = ["--compute-dtypes", "float32", "int8", "--all-words", "--rounds", 1, "--alone", 2, text / "test.src"]
    words = [sys.executable, ROOT / "scripts" / "benchmark_translator.py", "--model", folder, *args]
    done = subprocess.run([*map(str, words)], capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if "|" in line]
    speeds = {name: numbers for name, *numbers in rows[2:]}
    assert list(speeds) == ["float32", "float32, all words", "int8", "int8, all words"]
    assert speeds["float32"][2] == "1.00" and all(float(numbers[2]) > 0 for numbers in speeds.values())


def test_the_benchmark_compares_with_fairseqs_own_search(folder):
    own = Translator.load(folder)
    whole = load_script("benchmark_translator.py").over_all_words(Translator.load(folder))
    kinds = [one.generator_class for one in (own, whole)]
    assert kinds == [BestWordsGenerator, SequenceGenerator]
