"""What former versions made still loads, by every way that a user has, and translates as it did."""

import importlib.util
import os
import shutil
import sys
from argparse import Namespace

import numpy
import pytest
import torch
from fairseq_cli import train

from s2s_plugin import Translator
from s2s_plugin.command import main
from s2s_plugin.ops.int8 import SCALE
from s2s_plugin.ops.sparse import is_packed
from tests.helpers import USER_DIR, lines, read_checkpoint, run, run_generate, run_interactive
from tests.old_models import expected, old_models, unpack

ALONE = ("raw", "old_args", "transformer")  # a checkpoint and nothing else
OTHER = ("exported", "speech")
TEXT = [name for name in old_models() if not name.endswith(OTHER)]
FOLDERS = [name for name in TEXT if not name.endswith(ALONE)]


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    """What the models of all versions are unpacked in. A checkpoint alone gets what `Translator` wants beside it."""
    where = tmp_path_factory.mktemp("old")
    for version in {name.split("/")[0] for name in old_models()}:
        unpack(version, where)
    for name in TEXT:
        if name.endswith(ALONE):
            for dictionary in (where / name).with_name("data").glob("dict.*"):
                shutil.copy(dictionary, where / name)
            (where / name / "languages").write_text("src_lang=en\ntgt_lang=de\n")
    return where


def sources(name: str) -> list[str]:
    return [source for source, _ in expected(name)]


def targets(name: str) -> list[str]:
    return [target for _, target in expected(name)]


def test_none_is_missing():
    names = (
        "exported lstm old_args packed packed_quantised plain preset preset_namespace pronunciation quantised raw "
        "shortlist speech summaries transformer"
    )
    assert old_models() == [f"v0.2/{name}" for name in names.split()]
    assert all(len(expected(name)) >= 5 for name in old_models())


@pytest.mark.parametrize("name", TEXT)
def test_translator(name, where):
    translator = Translator.load(where / name)
    assert [one.text for one in translator.translate(sources(name))] == targets(name)
    assert name.endswith("shortlist") == (getattr(translator.task, "lexicon", None) is not None)


@pytest.mark.parametrize("name", FOLDERS)
def test_translate(name, where, tmp_path, capfdbinary):
    (tmp_path / "in").write_text("".join(f"{source}\n" for source in sources(name)), encoding="utf-8")
    standard_input = os.dup(0)
    try:
        with (tmp_path / "in").open("rb") as file:
            os.dup2(file.fileno(), 0)
        assert main("translate", ["--model", str(where / name)]) == 0
    finally:
        os.dup2(standard_input, 0)
        os.close(standard_input)
    assert capfdbinary.readouterr().out.decode().splitlines() == targets(name)


@pytest.mark.parametrize("name", [name for name in TEXT if name.endswith(("plain", "packed_quantised", "summaries"))])
def test_fairseq_interactive(name, where, tmp_path):
    folder = where / name
    translator = Translator.load(folder)
    pieces = [" ".join(translator.split(source)) for source in sources(name)]
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in pieces), encoding="utf-8")
    src, tgt = translator.task.cfg.source_lang, translator.task.cfg.target_lang
    args = ["--source-lang", src, "--target-lang", tgt, "--max-len-b", 20]
    if translator.encoder is not None:
        args += ["--post-process", "sentencepiece"]
    found = lines(run_interactive(folder, folder / "model.pt", tmp_path / "in", *args), "D")
    assert [rows[0][1] for _, rows in sorted(found.items())] == targets(name)


@pytest.mark.parametrize("name", [name for name in TEXT if name.endswith((*ALONE, "preset", "preset_namespace"))])
def test_fairseq_generate(name, where):
    data = (where / name).with_name("data")
    task = "translation" if name.endswith(("old_args", "transformer")) else "attn_translation"
    output = run_generate(data, where / name / "model.pt", "--beam", 5, task=task)
    found = {source: lines(output, "H")[number][0][1] for number, [[source]] in lines(output, "S").items()}
    assert [found[source] for source in sources(name)] == targets(name)


@pytest.mark.parametrize("name", [name for name in old_models() if name.endswith("speech")])
def test_speech(name, where):
    folder = where / name
    config = folder / "data" / "config.yaml"
    config.write_text(config.read_text().replace("FOLDER", str(folder / "data")))
    output = run_generate(folder / "data", folder / "model.pt", "--beam", 5, task="speech_to_text")
    found = lines(output, "H")
    assert [found[int(number)][0][1] for number in sources(name)] == targets(name)


@pytest.mark.parametrize("name", [name for name in old_models() if name.endswith("exported")])
def test_exported(name, where):
    """By the translator that lies in the folder, and by today's."""
    pytest.importorskip("onnxruntime")
    from s2s_plugin.export import runtime

    folder = where / name
    spec = importlib.util.spec_from_file_location("translate_of_the_folder", folder / "translate.py")
    own = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = own
    spec.loader.exec_module(own)
    for module in (own, runtime):
        translator = module.OnnxTranslator(folder, threads=1)
        assert [translator.translate(source)[0].text for source in sources(name)] == targets(name)


@pytest.mark.parametrize("name", [name for name in old_models() if name.endswith("raw")])
def test_a_training_goes_on(name, where, tmp_path):
    checkpoint = where / name / "model.pt"
    before = read_checkpoint(checkpoint)
    assert before["last_optimizer_state"]["state"]
    averages = vars_of_meters(before["extra_state"]["metrics"])
    assert any(isinstance(value, numpy.ndarray | numpy.generic) for value in averages)
    done = before["optimizer_history"][-1]["num_updates"]
    settings = before["cfg"]["model"]
    sizes = [f"--{key.replace('_', '-')}={settings[key]}" for key in settings if key.endswith(("_dim", "_size"))]
    run(
        train, (where / name).with_name("data"), "--user-dir", USER_DIR, "--restore-file", checkpoint,
        "--save-dir", tmp_path, "--cpu", "--num-workers", 0, "--task", "attn_translation", "--arch", "attn_rnn_s2s",
        "--criterion", "attn_label_smoothed_cross_entropy", *sizes, "--encoder-bidirectional",
        "--share-decoder-input-output-embed", "--optimizer", "adam", "--lr", 0.001, "--batch-size", 5,
        "--lr-scheduler", "inverse_sqrt", "--warmup-updates", 60, "--max-update", done + 2, "--eval-bleu",
        "--train-subset", "test", "--valid-subset", "test", "--no-epoch-checkpoints", "--dropout", 0,
    )  # fmt: skip
    after = read_checkpoint(tmp_path / "checkpoint_last.pt")
    assert after["optimizer_history"][-1]["num_updates"] == done + 2
    for place, old in before["model"].items():
        torch.testing.assert_close(after["model"][place], old, atol=0.05, rtol=0)


def vars_of_meters(metrics) -> list:
    """What the meters of a checkpoint count, of all of them: fairseq stores (priority, key, class, its values)."""
    return [value for group in metrics.values() for _, _, _, values in group for value in values.values()]


def test_what_the_models_are(where):
    """That each is of the kind that its name says."""
    states = {name: read_checkpoint(where / name / "model.pt") for name in TEXT}
    for name, state in states.items():
        is_old = name.endswith("old_args")
        assert is_packed(state["model"]) == ("packed" in name)
        assert any(key.endswith(SCALE) for key in state["model"]) == ("quantised" in name)
        assert any("coverage" in key for key in state["model"]) == name.endswith("summaries")
        assert isinstance(state.get("args"), Namespace) == is_old and (state.get("cfg") is None) == is_old
        if name.endswith(("namespace", "/lstm", "transformer")):
            assert isinstance(state["cfg"]["model"], Namespace)
        elif not is_old:
            assert isinstance(state["cfg"]["model"], dict)
