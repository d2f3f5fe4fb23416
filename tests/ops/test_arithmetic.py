"""What is chosen on this machine, and on those that oneDNN can play, is right and no loop."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from s2s_plugin.ops import arithmetic, int8, products

HERE = Path(__file__).parent


def lasts(seconds, calls):
    """A call that computes for so long, and is counted in `calls`."""

    def call():
        calls.append(seconds)
        start = time.thread_time()
        while time.thread_time() - start < seconds:
            pass

    return call


@pytest.mark.parametrize("times, expected", [(0.5, True), (1.0, True), (2.0, False), (100.0, False)])
def test_a_way_pays_that_takes_no_longer(times, expected):
    calls = []
    pays = arithmetic.pays(lambda sizes: (lasts(times * 1e-4, calls), lasts(1e-4, [])), 1.4)
    assert pays == expected
    if times == 100.0:  # loops are not tried on a larger product
        assert len(calls) == 2


def test_a_way_that_is_wrong_does_not_pay():
    sizes = []
    assert not arithmetic.pays(sizes.append, 1.0)
    assert len(sizes) == 1


@pytest.mark.parametrize("right", [[], [int8.SEVEN_BITS], [int8.EIGHT_BITS, int8.SEVEN_BITS]])
def test_rows_have_eight_bits_where_they_can(right, monkeypatch):
    quick = lasts(0, [])
    monkeypatch.setattr(arithmetic, "_in_int8", lambda rows, sizes: (quick, lasts(1e-5, [])) if rows in right else None)
    assert arithmetic._fastest_rows.__wrapped__() == (right[0] if right else None)


def test_sums_that_are_cut_off_are_seen(monkeypatch):
    """A kernel whose sums are one off in one place."""
    linear = int8.linear

    def cut_off(*args):
        y = linear(*args)
        y.view(-1)[7] += 1
        return y

    if not arithmetic.is_exact(int8.SEVEN_BITS):
        pytest.skip("this build of torch has no such product")
    monkeypatch.setattr(int8, "linear", cut_off)
    assert not arithmetic.is_exact(int8.SEVEN_BITS)


def test_a_torch_without_the_operators(monkeypatch):
    def pack(*args):
        raise AttributeError("'_OpNamespace' 'onednn' object has no attribute 'qlinear_prepack'")

    monkeypatch.setattr(int8, "pack", pack)
    assert not arithmetic.is_exact(int8.SEVEN_BITS)


def test_onednn_can_be_switched_off():
    with torch.backends.mkldnn.flags(enabled=False):
        assert arithmetic.int8_rows() is None


def test_the_choice_is_made_once():
    assert arithmetic.int8_rows() is arithmetic.int8_rows()
    assert arithmetic.bfloat16_is_faster() is arithmetic.bfloat16_is_faster()
    start = time.process_time()
    for _ in range(100):
        arithmetic.int8_rows(), arithmetic.bfloat16_is_faster()
    assert time.process_time() - start < 0.1


def test_a_context_of_the_caller_changes_no_choice():
    expected = arithmetic.is_exact(int8.EIGHT_BITS), arithmetic.is_exact(int8.SEVEN_BITS)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert (arithmetic.is_exact(int8.EIGHT_BITS), arithmetic.is_exact(int8.SEVEN_BITS)) == expected
        arithmetic.bfloat16_is_faster.__wrapped__()


ISAS = ["AVX2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "DEFAULT"]


@pytest.mark.skipif(not products.has_onednn(), reason="torch without oneDNN")
@pytest.mark.parametrize("isa", ISAS)
def test_other_processors(isa):
    env = dict(os.environ, ONEDNN_MAX_CPU_ISA=isa, PYTHONPATH=str(Path(int8.__file__).parents[1]), OMP_NUM_THREADS="1")
    if isa != "DEFAULT":
        env["MKL_ENABLE_INSTRUCTIONS"] = "AVX2" if isa == "AVX2" else "AVX512"
    command = [sys.executable, HERE / "int8_values.py"]
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    errors, chosen = report["errors"], report["chosen"]
    assert errors["63"] < 1e-5
    assert chosen is None or errors[str(chosen)] < 1e-5
    if isa in ("AVX2", "AVX512_CORE"):
        assert errors["127"] > 0.1 and chosen != 127  # cut off
    assert report["of float64"] < 20  # where loops took over, 500 and more
