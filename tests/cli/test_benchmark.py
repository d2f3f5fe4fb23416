"""The benchmarks run, measure every system, and refuse what they cannot measure before they start."""

import sys

import pytest

from tests.helpers import ROOT, run_command


def run_script(name, *args):
    return run_command([sys.executable, ROOT / "scripts" / name, *args])


def rows(done) -> dict:
    """The cells of each row of the tables that were printed, by the first cell."""
    assert done.returncode == 0, done.stderr
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if "|" in line)
    return {name: values for name, *values in cells}


def test_throughput_of_every_system(data):
    done = run_script("benchmark.py", data, "--max-tokens", "100", "--batches", "1", "--repeats", "1", "--length", "2")
    table = rows(done)
    assert table["lstm"][1] == table["lstm"][4] == "1.00"
    for system in ("attn_rnn_s2s", "attn_rnn_s2s of LSTMs", "attn_rnn_s2s_gnmt"):
        for name in (system, f"{system}, bfloat16"):
            assert all(float(value.replace(",", "")) > 0 for value in table[name])


def test_sweep(data):
    done = run_script("benchmark.py", data, "--sweep", "--lengths", "3", "--batch-sizes", "2", "--repeats", "1")
    table = rows(done)
    assert len(table["3 x 2"]) == 8


def test_memory(data):
    done = run_script("benchmark.py", data, "--memory", "--memory-sentences", "2", "--memory-length", "200")
    assert float(rows(done)["fast"][1]) < 0.8


def test_parts(data):
    table = rows(run_script("benchmark_parts.py", data, "--max-tokens", "100", "--repeats", "1"))
    assert {"encoder", "decoder layer with attention", "projection and loss", "whole step"} <= set(table)
    assert float(table["nn.LSTM that reads the embedding"][1]) > 0


@pytest.mark.parametrize(
    "args, message",
    [
        (["no-such-folder"], "no folder no-such-folder: give the --destdir of fairseq-preprocess"),
        (["no.src", "no.tgt"], "no file no.src"),
        (["a", "b", "c"], "give two text files, or one folder of fairseq-preprocess, or nothing"),
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--max-tokens", "1000", "-5"], "--max-tokens must be at least 1"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
        (["--lengths", "3"], "--lengths goes with --sweep, not with throughput"),
        (["--sweep", "--batches", "3"], "--batches goes with throughput, not with sweep"),
        (["--memory", "--repeats", "3"], "--repeats goes with throughput and --sweep, not with memory"),
        (["--sweep", "--memory"], "not allowed with argument"),
    ],
)
def test_what_cannot_be_measured_is_refused(args, message):
    done = run_script("benchmark.py", *args)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
