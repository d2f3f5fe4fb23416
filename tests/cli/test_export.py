"""`python -m s2s_plugin export`: a folder that translates as the model does, without torch and fairseq."""

import itertools
import json
import subprocess
import sys

import pytest

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from s2s_plugin import Translator  # noqa: E402
from s2s_plugin.export import runtime  # noqa: E402
from s2s_plugin.export.onnx import export_folder  # noqa: E402
from s2s_plugin.export.runtime import OnnxTranslator  # noqa: E402
from s2s_plugin.translator import clean  # noqa: E402
from tests.helpers import ROOT, run_command, run_train  # noqa: E402

from .test_translator import fill_folder, folder, lines, translator  # noqa: E402, F401

WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("torch", "fairseq", "s2s_plugin")))  # importing them fails
sys.argv, path = sys.argv[1:], sys.argv[1]
exec(compile(open(path).read(), path, "exec"), {"__name__": "__main__", "__file__": path})
"""


def command(*args) -> subprocess.CompletedProcess:
    return run_command([sys.executable, "-m", "s2s_plugin", "export", *map(str, args)])


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):  # noqa: F811
    output = tmp_path_factory.mktemp("exported") / "new" / "onnx"
    done = command("--model", folder, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{output}: graphs of ") and len(done.stdout.splitlines()) == 1
    assert "Reusing node" not in done.stderr  # nor any other of the exporter's lines
    return output


SEARCHES = [
    {},
    {"beam": 1},
    {"beam": 7, "lenpen": 0.0, "min_len": 4},
    {"max_len_a": 0.5, "max_len_b": 1},
    {"unkpen": -9},
]


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_translations_are_those_of_the_model(search, translator, exported, lines):  # noqa: F811
    beam = search.get("beam", 3)
    ours = OnnxTranslator(exported)
    for line in lines:
        expected = translator.translate([line], n_best=beam, **search)[0].hypotheses
        found = ours.translate(line, **search)
        assert [one.pieces for one in found] == [one.pieces for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.text == other.text and one.score == pytest.approx(other.score, abs=1e-4)
            assert one.attention == pytest.approx(other.attention.numpy(), abs=1e-4)


def test_it_runs_without_torch_and_fairseq(translator, exported, lines):  # noqa: F811
    text = "".join(f"{line}\n" for line in itertools.chain(lines[:5], [""], lines[5:8]))
    done = run_command([sys.executable, "-c", WITHOUT, exported / "translate.py", "--threads", "1"], stdin=text)
    assert done.returncode == 0, done.stderr
    expected = [one.text for one in translator.translate([*lines[:5], "", *lines[5:8]])]
    assert done.stdout.splitlines() == expected and expected[5] == ""
    greedy = run_command([sys.executable, exported / "translate.py", "--beam", "1", "--lenpen", "0.5"], stdin=text)
    assert greedy.stdout.splitlines() == [
        one.text for one in translator.translate(text.splitlines(), beam=1, lenpen=0.5)
    ]
    for option, value, least in (("beam", "0", 1), ("lenpen", "-2.0", 0)):
        done = run_command([sys.executable, exported / "translate.py", f"--{option}", value], stdin=text)
        assert done.returncode == 1 and done.stderr == f"error: {option} {value}: must be at least {least}\n"


def test_the_folder_says_what_is_in_it(exported, data):
    settings = json.loads((exported / "model.json").read_text())
    assert settings["languages"] == ["src", "tgt"] and settings["search"]["beam"] == 3
    assert settings["inputs"] == ["prev_tokens", "memory", "keys", "padding_mask", "hidden"]
    words = (exported / "words.src").read_text().splitlines()
    assert words[:4] == ["<s>", "<pad>", "</s>", "<unk>"] and set("abcdefghijkl") <= set(words)
    assert OnnxTranslator(exported, 1).decoder.get_session_options().intra_op_num_threads == 1
    for search, message in (
        ({"width": 3}, "unknown option width: choose from beam, lenpen"),
        ({"beam": 2.5}, "beam 2.5: must be a whole number"),
        ({"min_len": 9, "max_len_a": 0, "max_len_b": 4}, "min_len 9: the longest translation of this line is 4"),
    ):
        with pytest.raises(ValueError, match=message):
            OnnxTranslator(exported).translate("a b", **search)
    with pytest.raises(FileNotFoundError, match="there is no model.json; python -m s2s_plugin export makes the folder"):
        OnnxTranslator(data)


@pytest.mark.parametrize("line", ["", "  a\tb ", "a\u00a0b\u0007c", "\ufeffa\u2028b\r", "天 地\x00"])
def test_text_is_cleaned_as_the_model_has_it(line):
    assert runtime.clean(line) == clean(line)


def test_what_cannot_be_is_refused(folder, exported, data, tmp_path):  # noqa: F811
    run_train(data, tmp_path / "lstm", arch="lstm", max_update=2, criterion="label_smoothed_cross_entropy")
    fill_folder(tmp_path / "model", tmp_path / "lstm" / "checkpoint_last.pt", data)
    (tmp_path / "model" / "search").write_text("--beam 2\n")
    with pytest.raises(ValueError, match="a model of LSTMModel; attn_rnn_s2s and its presets can be exported"):
        export_folder(tmp_path / "model", tmp_path / "new")
    fill_folder(tmp_path / "blocks", folder / "model.pt", data)
    (tmp_path / "blocks" / "search").write_text("--no-repeat-ngram-size 3\n")
    for args, message in (
        (["--model", tmp_path, "--output", tmp_path / "new"], "there is no model.pt"),
        (["--model", folder, "--output", exported], "there is something; name a new folder"),
        (["--model", tmp_path / "blocks", "--output", tmp_path / "new"], "the exported search has it not"),
    ):
        done = command(*args)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and message in done.stderr
    assert not (tmp_path / "new").exists()


def test_missing_packages_are_named(folder, tmp_path):  # noqa: F811
    code = (
        "import sys; sys.modules['onnxscript'] = None; from s2s_plugin.command import main; "
        f"sys.exit(main('export', ['--model', {str(folder)!r}, '--output', {str(tmp_path / 'new')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 1 and "pip install -e '.[export]'" in done.stderr and "Traceback" not in done.stderr


def test_a_small_model_of_eight_bits_is_exported_in_float32(folder, exported, lines, tmp_path):  # noqa: F811
    done = run_command(
        [sys.executable, "-m", "s2s_plugin", "quantize", "--model", folder, "--output", tmp_path / "eight"]
    )
    assert done.returncode == 0, done.stderr
    export_folder(tmp_path / "eight", tmp_path / "onnx")
    floats = Translator.load(tmp_path / "eight", compute_dtype="float32")
    ours = OnnxTranslator(tmp_path / "onnx")
    assert [ours.translate(line)[0].pieces for line in lines] == [
        one.hypotheses[0].pieces for one in floats.translate(lines)
    ]


def test_graphs_name_no_files_of_this_machine(exported):
    for name in ("encoder.onnx", "step.onnx"):
        assert str(ROOT).encode() not in (exported / name).read_bytes()
