"""The package's arrows: ops <- modules <- models <- tasks; criterions see fairseq, ops and model outputs; compress sees
fairseq, ops, saving, checkpoints and the names in a model's folder, and tasks see it; export sees everything."""

import ast
from pathlib import Path

import pytest

import s2s_plugin

ROOT = Path(s2s_plugin.__file__).parent

# Which folders of the package, and which packages besides torch and the standard library, a folder may import.
MAY_IMPORT = {
    "ops": (set(), set()),
    "modules": ({"ops"}, set()),
    "models": ({"ops", "modules"}, {"fairseq", "omegaconf"}),
    "tasks": ({"models", "modules", "ops", "compress"}, {"fairseq", "numpy", "omegaconf", "sacrebleu"}),
    "criterions": ({"ops"}, {"fairseq"}),
    "scoring": (set(), {"fairseq"}),
    "compress": ({"ops", "checkpoints", "folder", "saving"}, {"fairseq", "tqdm"}),
    "export": (
        {"models", "modules", "ops", "compress", "translator"},
        {"json", "numpy", "onnxruntime", "onnxscript", "sentencepiece", "unicodedata"},
    ),
}
STANDARD = {
    "argparse", "collections", "contextlib", "contextvars", "copy", "dataclasses", "functools", "hashlib", "itertools",
    "logging", "math", "os", "pathlib", "re", "shutil", "sys", "threading", "time", "typing", "warnings",
}  # fmt: skip


def imports(path: Path):
    """Dotted names that a file imports; those of the package start with `s2s_plugin.`."""
    package = path.relative_to(ROOT.parent).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            prefix = base + (node.module.split(".") if node.module else [])
            yield from (".".join(prefix + [alias.name]) for alias in node.names)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_lies_below_it(folder):
    own, foreign = MAY_IMPORT[folder]
    files = sorted((ROOT / folder).glob("**/*.py"))
    assert files
    for path in files:
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "s2s_plugin":
                assert parts[1] in own | {folder}, f"{path} imports {name}"
            else:
                assert parts[0] in foreign | STANDARD | {"torch"}, f"{path} imports {name}"


def test_the_exported_translator_needs_neither_torch_nor_fairseq():
    names = {name.split(".")[0] for name in imports(ROOT / "export" / "runtime.py")}
    assert not names & {"torch", "fairseq", "s2s_plugin"}


def test_every_folder_is_held_to_it():
    assert {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(MAY_IMPORT)


def test_config_files_keep_to_what_fairseq_can_parse():
    """fairseq reads the annotations at run time: neither postponed annotations nor `X | None` work."""
    for path in (ROOT / "models" / "config.py", ROOT / "tasks" / "attn_translation.py", ROOT / "tasks" / "pruning.py"):
        text = path.read_text()
        assert "from __future__ import annotations" not in text and "| None" not in text
