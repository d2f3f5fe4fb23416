"""A checkpoint of strings and numbers runs nothing, opens nothing, and takes no more memory than it holds."""

import ast
import builtins
import importlib
import os
import re
from argparse import Namespace
from pathlib import Path

import fairseq
import pytest
import torch
from fairseq import checkpoint_utils

from s2s_plugin.checkpoints import CheckpointError, load_model
from s2s_plugin.fairseq_patches import EVALUATING
from s2s_plugin.literals import read_literal
from s2s_plugin.settings import EVALUATED, LEFT_OUT, SettingsError, check_state
from tests.helpers import USER_DIR
from tests.hostile import (
    MARK,
    STRINGS,
    TEXT,
    models_without_memory,
    settings_of,
    traps,
    write_checkpoint,
    write_folder,
)

GROUPS = ("model", "task", "criterion", "optimizer", "common")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with dictionaries, in which the test runs: a command that leaves a file leaves it there."""
    monkeypatch.chdir(tmp_path)
    return write_folder(tmp_path / "model")


def load(path: Path, trust: bool = True) -> str:
    """What became of it: `loaded`, or the error."""
    try:
        load_model(path, {"data": str(path.parent)}, trust_checkpoint=trust)
    except (CheckpointError, ValueError, OSError) as error:
        message = str(error)
        assert "\n" not in message and len(message) < 1000
        return message
    return "loaded"


def each_setting(cfg: dict):
    """Yields group, name and dictionary of every setting of the groups that a model is made of."""
    for group in GROUPS:
        settings = cfg[group] or {}
        settings = vars(settings) if isinstance(settings, Namespace) else settings
        for name in list(settings):
            yield group, name, settings


SMALL = {"fconv": ["--encoder-layers", "[(8, 3)]", "--decoder-layers", "[(8, 3)]"]}


def check_every_setting(arch: str, folder: Path, strings) -> None:
    cfg, _ = settings_of(arch, folder, "translation", *SMALL.get(arch, []))
    path = folder / "model.pt"
    refused = 0
    with models_without_memory(), traps() as sprung:
        assert load(write_checkpoint(path, cfg=cfg)) == "loaded"
        for group, name, settings in each_setting(cfg):
            for string in strings:
                former, settings[name] = settings[name], string
                became = load(write_checkpoint(path, cfg=cfg))
                settings[name] = former
                refused += became != "loaded"
                assert became == "loaded" or str(path) in became, became
                assert sprung == [], f"--arch {arch}: {group}.{name} = {string!r}"
    assert refused > 50 and not list(Path.cwd().glob(f"**/*{MARK}*"))


@pytest.mark.parametrize("arch", ["attn_rnn_s2s", "lstm", "fconv"])
def test_no_setting_of_a_file_runs_anything(arch, folder):
    check_every_setting(arch, folder, STRINGS[:1])


@pytest.mark.long
@pytest.mark.parametrize("arch", TEXT)
def test_no_setting_of_any_architecture_runs_anything(arch, folder):
    check_every_setting(arch, folder, STRINGS)


@pytest.mark.parametrize("arch", ["attn_rnn_s2s_gnmt", "fconv"])
def test_nor_does_one_of_the_older_form(arch, folder):
    _, flat = settings_of(arch, folder, "translation", *SMALL.get(arch, []))
    with models_without_memory(), traps() as sprung:
        assert load(write_checkpoint(folder / "model.pt", args=flat)) == "loaded"
        others = {"bpe", "tokenizer", "source_lang", "eval_bleu_args", "dataset_impl"}
        for name in sorted(EVALUATED | LEFT_OUT | others):
            hostile = Namespace(**{**vars(flat), name: STRINGS[0]})
            load(write_checkpoint(folder / "model.pt", args=hostile))
            assert sprung == [], name


def test_the_traps_work(folder):
    with traps() as sprung:
        eval(f"[len('{MARK}')]")
        os.system(f"true {MARK}")
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(MARK)
        Path(f"{MARK}.txt").open("w").close()
        open(f"{MARK}.txt", "w").close()
    assert [name for name, _ in sprung] == ["eval", "system", "import_module", "open"]


def test_what_fairseq_evaluates_is_read_as_a_literal():
    """All its modules that call `eval`, but for its commands, which read what the user types."""
    root, found = Path(fairseq.__file__).parent, set()
    for path in root.glob("**/*.py"):
        module = path.relative_to(root)
        if module.parts[0] == "examples":
            continue
        calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        if any(isinstance(call.func, ast.Name) and call.func.id in ("eval", "exec") for call in calls):
            found.add(".".join(module.with_suffix("").parts))
    assert found == set(EVALUATING)
    for name in EVALUATING:
        assert importlib.import_module(f"fairseq.{name}").eval is read_literal
    assert builtins.eval is not read_literal
    with pytest.raises(ValueError, match="is no number"):
        fairseq.utils.eval_str_list("[__import__('os').getpid()]")
    assert fairseq.utils.eval_bool("False") is False and fairseq.utils.eval_bool(True, default=True) is True


@pytest.mark.parametrize(
    "text",
    ["[(512, 3)] * 20", "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]", "10,20", "(0.9, 0.98)",
     "{'a': [1, -2.5]}", "True", "None", "1e-8", " [3] ", "2 * [1]", "'word'", "[]"],
)  # fmt: skip
def test_literals_are_what_eval_makes_of_them(text):
    assert read_literal(text) == eval(text.strip())


@pytest.mark.parametrize(
    "text",
    ["", "a", "f()", "[1] * 10**9", "[[0] * 9000] * 9000", "[x for x in (1,)]", "1 + 1", "'a' * 3", "lambda: 0",
     "(" * 500, "[" * 100000, "a.b", "{**{}}", "f'{1}'", "[1] * [2]", "[1] * True", "[1]*1.0", "__import__('os')"],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="is no number|characters"):
        read_literal(text)


def settings(**changed) -> dict:
    """A checkpoint of settings alone. Args: `group__name`."""
    model, task = {"_name": "attn_rnn_s2s", "criterion": "cross_entropy"}, {"_name": "attn_translation"}
    state = {"cfg": {"model": model, "task": task, "common": {}}}
    for place, value in changed.items():
        group, name = place.split("__", 1)
        state["cfg"].setdefault(group, {})[name] = value
    return state


DEEP: list = []
for _ in range(50):
    DEEP = [DEEP]
WIDE: list = [0]
for _ in range(5):
    WIDE = [WIDE] * 20


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("model__encoder_layers", "two", "model.encoder_layers is 'two', but takes a whole number"),
        ("model__dropout", [0.1], "model.dropout is a list, but takes a number"),
        ("model__encoder_cell", "rnn", "takes one of tanh, gru, lstm"),
        ("model__encoder_bidirectional", "maybe", "takes True or False"),
        ("model__attn_dim", 2**70, "a number of 71 bits"),
        ("model__adaptive_softmax_cutoff", "[exit()]", "which is no value"),
        ("model__unknown_to_all", "${oc.env:HOME}", "refers to something else"),
        ("model__unknown_to_all", "a\0b", "control characters"),
        ("model__unknown_to_all", "a" * 20_000, "a text of 20000 characters"),
        ("model__unknown_to_all", DEEP, "more than 10 levels"),
        ("model__unknown_to_all", WIDE, "more than 20000 settings"),
        ("model__unknown_to_all", torch.zeros(1), "is a Tensor"),
        ("task__source_lang", "../en", "which is no language"),
        ("task__source_lang", "en; touch x #", "which is no language"),
        ("task__dataset_impl", "fasta", "runs commands of the shell"),
        ("task__eval_bleu_args", '{"lm_path": "/x.pt"}', "holds 'lm_path': '/x.pt', which is no option of a search"),
        ("task__eval_bleu_args", '{"beam": "four"}', "no option of a search"),
        ("task__eval_bleu_args", "[4]", "no object of JSON"),
        ("task__eval_bleu_detok_args", '{"a": ["b"]}', "holds more than options"),
        ("task__prune_scope", "some", "takes one of all, each"),
        ("bpe___name", "../../x", "which is no name"),
        ("optimizer___name", "../x", "which is no name"),
    ],
)  # fmt: skip
def test_a_setting_that_its_field_does_not_take_is_named(place, value, message):
    with pytest.raises(SettingsError) as refused:
        check_state(settings(**{place: value}))
    assert message in str(refused.value)


def test_what_a_finished_model_does_not_need_is_left_out():
    state = settings(
        common__user_dir="/somewhere", model__encoder_embed_path="/vectors", model__encoder_freeze_embed=True,
        model__decoder_freeze_embed=True, task__shortlist="/words", task__data="/data",
    )  # fmt: skip
    check_state(state)
    cfg = state["cfg"]
    assert cfg["common"]["user_dir"] is None and cfg["task"]["shortlist"] is None and cfg["task"]["data"] == "/data"
    assert cfg["model"]["encoder_embed_path"] is None and cfg["model"]["encoder_freeze_embed"] is False
    assert cfg["model"]["decoder_freeze_embed"] is True


@pytest.mark.parametrize("name", ["transformer_lm", "wav2vec2", "roberta_base", "hf_gpt2"])
def test_own_commands_load_models_of_text_alone(name, folder):
    state = settings(model___name=name)
    path = write_checkpoint(folder / "model.pt", cfg=state["cfg"])
    assert f"--arch {name} is none of attn_rnn_s2s" in load(path, trust=False)
    assert "is none of" not in load(path, trust=True)


def test_own_commands_load_tasks_of_text_alone(folder):
    path = write_checkpoint(folder / "model.pt", cfg=settings(task___name="audio_pretraining")["cfg"])
    assert "--task audio_pretraining is none of attn_translation" in load(path, trust=False)


@pytest.mark.parametrize(
    "change",
    [{"encoder_embed_dim": 10**8}, {"decoder_hidden_size": 10**6}, {"encoder_layers": 10**9}, {"attn_dim": 10**9},
     {"adaptive_softmax_cutoff": "5,1000000000", "criterion": "adaptive_loss"},
     {"decoder_transition_depth": 10**8}, {"attn_location_filters": 10**9}],
)  # fmt: skip
@pytest.mark.parametrize("door", ["own", "fairseq"])
def test_a_model_larger_than_its_file_takes_no_memory(change, door, folder):
    cfg = settings(**{f"model__{name}": value for name, value in change.items()})["cfg"]
    cfg["task"] |= {"source_lang": "src", "target_lang": "tgt", "data": str(folder)}
    path = write_checkpoint(folder / "model.pt", cfg=cfg)
    before = peak_memory()
    if door == "own":
        message = load(path)
    else:
        with pytest.raises((CheckpointError, ValueError)) as refused:
            checkpoint_utils.load_model_ensemble_and_task([str(path)])
        message = str(refused.value)
    assert re.search("more parameters than the (16|1) that the file holds", message)
    assert peak_memory() < before + 100e6


def peak_memory() -> int:
    """Bytes that this process has held at most."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def test_the_users_folder_of_a_file_is_not_imported(folder, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").write_text("open('imported', 'w').close()")
    cfg, _ = settings_of("attn_rnn_s2s", folder, "attn_translation", "--user-dir", str(USER_DIR))
    cfg["common"]["user_dir"] = str(tmp_path / "theirs")
    with models_without_memory():
        assert load(write_checkpoint(folder / "model.pt", cfg=cfg)) == "loaded"
    assert not (tmp_path / "imported").exists()
