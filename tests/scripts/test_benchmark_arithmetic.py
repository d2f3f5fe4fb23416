"""The table of arithmetics, made small in real processes, and what is read out of the system and of oneDNN's lines."""

import subprocess
import sys

import pytest

from s2s_plugin.ops import products

from .loading import SCRIPTS, load_script

script = load_script("benchmark_arithmetic.py")


def command(*args) -> subprocess.CompletedProcess:
    words = [sys.executable, SCRIPTS / "benchmark_arithmetic.py", *args]
    return subprocess.run(words, capture_output=True, encoding="utf-8", timeout=300)


@pytest.mark.skipif(not products.has_onednn(), reason="torch without oneDNN")
def test_the_tables():
    done = command("--sizes", "8x64x96", "--isas", "AVX512_CORE", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")]
    times, choices = rows[1], rows[3]
    assert [cell.strip() for cell in times[:2]] == ["8 x 64 x 96", "AVX512_CORE"]
    assert all(float(cell.rstrip(" !")) > 0 for cell in times[2:])
    assert "!" in times[5] and "!" not in times[6]  # without VNNI eight bits are cut off
    assert choices[0].strip() == "AVX512_CORE" and choices[1].strip() in ("seven bits", "float32")


@pytest.mark.parametrize(
    "args, message",
    [
        (["--rounds", "0"], "--rounds and --threads must be at least 1"),
        (["--threads", "0"], "--rounds and --threads must be at least 1"),
        (["--sizes", "40x512"], "--sizes are three numbers each"),
        (["--sizes", "40x0x5"], "--sizes are three numbers each"),
    ],
)
def test_what_cannot_be_is_refused(args, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark_arithmetic.py", *args])
    with pytest.raises(ValueError, match=message):
        script.main()


def test_kernels_are_read():
    start = "onednn_verbose,v1,primitive,exec,cpu,"
    verbose = f"""onednn_verbose,v1,info,cpu,isa:Intel AVX2
{start}reorder,jit:uni,undef,src:f32::blocked:ab::f0
{start}inner_product,brg_matmul:avx2,forward_inference,src:f32::blocked:ab::f0 wei:f32
{start}matmul,gemm:jit,undef,src:u8:a:blocked:ab::f0 wei:s8
{start}matmul,ref_int8:any,undef,src:u8:a:blocked:ab::f0 wei:s8"""
    assert script.kernels(verbose) == {"f32": "brg_matmul:avx2", "u8": "gemm:jit"}
