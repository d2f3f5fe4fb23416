"""Every option of the benchmark reaches what it is for; the systems are stand-ins that note what they are given."""

import sys
from types import SimpleNamespace

import pytest
import torch

from tests.models.builders import make_dictionary

from .loading import load_script

load_script("benchmark_data.py")
benchmark = load_script("benchmark.py")


class Dataset(list):
    """Sentences of one token each, in batches of at most `max_tokens`."""

    def ordered_indices(self):
        return list(range(len(self)))

    def batch_by_size(self, indices, max_tokens):
        return [indices[start : start + max_tokens] for start in range(0, len(indices), max_tokens)]


class System:
    def __init__(self, arguments, options):
        self.dataset, self.calls = Dataset(range(60)), CALLS
        self.task = SimpleNamespace(target_dictionary=make_dictionary(5))

    def collate(self, batches):
        return batches

    def train(self, samples):
        self.calls.append(("train", samples, None))
        return 1.0

    def generate(self, samples, length):
        self.calls.append(("generate", samples, length))
        return 1.0


CALLS = []


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    (tmp_path / "dict.src.txt").touch()
    monkeypatch.setattr(benchmark, "System", System)
    monkeypatch.setattr(benchmark, "in_own_process", lambda options, **changes: {"mib": 1.0, "changes": changes})
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: CALLS.append(("threads", threads, None)))

    def run(*args):
        CALLS.clear()
        monkeypatch.setattr(sys, "argv", ["benchmark.py", str(tmp_path), *args])
        monkeypatch.setattr(benchmark.logging, "disable", lambda level: None)
        benchmark.main()
        return capsys.readouterr().out

    return run


def test_throughput(run):
    words = "--max-tokens 20 --batches 2 --repeats 3 --length 7 --sentences 4 --beam 3 --threads 1"
    out = run(*words.split())
    trained = [samples for kind, samples, _ in CALLS if kind == "train"]
    searched = [(samples, length) for kind, samples, length in CALLS if kind == "generate"]
    systems = len(benchmark.SYSTEMS["cpu"])
    assert len(trained) == len(searched) == systems * (3 + 1)
    assert [len(batch) for batch in trained[0]] == [20, 20]
    assert all([len(batch) for batch in samples] == [4, 4] and length == 7 for samples, length in searched)
    assert "--max-tokens 20" in out and "beam 3" in out
    assert CALLS[0] == ("threads", 1, None)


def test_sweep(run):
    out = run("--sweep", "--lengths", "3", "5", "--batch-sizes", "2", "--repeats", "1", "--beam", "4")
    searched = [(samples[0]["target"].shape, length) for kind, samples, length in CALLS if kind == "generate"]
    assert set(searched) == {((2, 3), 3), ((2, 5), 5)}
    assert len(searched) == 2 * 2 * len(benchmark.SYSTEMS["cpu"]) and "beam-4" in out


def test_memory(run, monkeypatch):
    seen = []
    monkeypatch.setattr(benchmark, "in_own_process", lambda options, **changes: seen.append(changes) or {"mib": 2.0})
    run("--memory", "--memory-sentences", "2", "--memory-length", "9")
    assert [c["step_memory_of"] for c in seen] == list(benchmark.STEPS)
    assert all(c["memory_sentences"] == 2 and c["memory_length"] == 9 for c in seen)


def test_work_is_the_folder_of_what_is_prepared(monkeypatch, tmp_path):
    texts = [tmp_path / "a.en", tmp_path / "a.de"]
    for path in texts:
        path.write_text("x\n")
    data = sys.modules["benchmark_data"]
    monkeypatch.setattr(data, "prepare_text", lambda source, target, folder: folder)
    assert data.find_data(texts, tmp_path / "here").parent == tmp_path / "here"


def test_texts_of_unequal_length_are_refused(tmp_path):
    texts = [tmp_path / "a.en", tmp_path / "a.de"]
    texts[0].write_text("x\u2028y\n")  # one line, whatever Unicode calls the character inside
    texts[1].write_text("x\ny\n")
    with pytest.raises(SystemExit, match="has 1 lines, but .* has 2"):
        sys.modules["benchmark_data"].find_data(texts, tmp_path)
