"""How long a matrix product takes in float32, bfloat16 and int8, here and on lesser processors that oneDNN plays.

usage: python scripts/benchmark_arithmetic.py [--sizes 40x512x1536 ...] [--isas AVX2 ...] [--rounds 40] [--threads 1]

Sizes are rows x inner x columns. Each processor is a process of its own, in which `ONEDNN_MAX_CPU_ISA` holds oneDNN to
its instructions and `MKL_ENABLE_INSTRUCTIONS` holds MKL; torch's own kernels are not held. All ways are timed in turns,
and their fastest runs count: torch.nn.functional.linear and the package's product in float32, oneDNN in bfloat16, and
int8 with rows of eight and of seven bits, the rounding of the rows included. `!` says that sums are cut off. Below
stand what `--compute-dtype int8` and `auto` choose, and oneDNN's names of its kernels. Let nothing else run meanwhile.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ISAS = ["AVX2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "DEFAULT"]
SIZES = ["40x512x1536", "40x256x6000", "5x512x1536"]
FLAGS = ["avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"]
WAYS = ["torch", "float32", "bfloat16", "eight", "seven"]


def measure(sizes: list[int], rounds: int) -> dict[str, float | bool]:
    """Milliseconds of each way, and for those of int8 whether the sums are exact."""
    import torch
    from ops import arithmetic, int8, products

    rows, inner, columns = sizes
    x, weight = torch.randn(rows, inner), torch.randn(columns, inner)
    packed, short, packed_short = products.pack(weight), x.bfloat16(), products.pack(weight.bfloat16())
    calls = {
        "torch": lambda: torch.nn.functional.linear(x, weight),
        "float32": lambda: products.linear(x, packed),
        "bfloat16": lambda: products.linear(short, packed_short),
    }
    found = {}
    for name, way in (("eight", int8.EIGHT_BITS), ("seven", int8.SEVEN_BITS)):
        in_int8 = int8.pack(weight, way)
        calls[name] = lambda in_int8=in_int8: int8.linear(x, in_int8)
        found[f"{name} is exact"] = arithmetic.is_exact(way)
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(3):  # the first finds what the others left in the caches
                start = time.perf_counter()
                call()
                best[name] = min(best[name], 1000 * (time.perf_counter() - start))
    return found | best


def run_here(args) -> None:
    """Prints the figures of this process as JSON, after oneDNN's own lines."""
    import torch
    from ops import arithmetic

    torch.set_num_threads(args.threads)
    with torch.no_grad():
        rows = arithmetic.int8_rows()
        bits = {None: "float32", 127: "eight bits", 63: "seven bits"}[None if rows is None else rows.largest]
        products = {size: measure([int(n) for n in size.split("x")], args.rounds) for size in args.sizes}
        print(json.dumps({"int8": bits, "bfloat16": arithmetic.bfloat16_is_faster(), "products": products}))


def run_as(isa: str, rounds: int, args, verbose: int = 0) -> str:
    """The output of this script in a process that plays a processor."""
    env = dict(os.environ, ONEDNN_MAX_CPU_ISA=isa, ONEDNN_VERBOSE=str(verbose), PYTHONPATH=str(ROOT / "s2s_plugin"))
    if isa != "DEFAULT":
        env["MKL_ENABLE_INSTRUCTIONS"] = "AVX2" if isa.startswith("AVX2") else "AVX512"
    command = [sys.executable, __file__, "--here", "--rounds", str(rounds), "--threads", str(args.threads)]
    done = subprocess.run([*command, "--sizes", *args.sizes], env=env, stdout=subprocess.PIPE, encoding="utf-8")
    if done.returncode != 0:
        raise ValueError(f"{isa}: the process ended with {done.returncode}")
    return done.stdout


def kernels(verbose: str) -> dict[str, str]:
    """oneDNN's names of its kernels, from its lines, by what they multiply."""
    names = {}
    for line in verbose.splitlines():
        fields = line.split(",")
        if len(fields) > 6 and fields[3] == "exec" and fields[5] in ("matmul", "inner_product"):
            kind = next((kind for kind in ("u8", "bf16", "f32") if f"src:{kind}" in line), "")
            names.setdefault(kind, fields[6])
    return names


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    fields = dict(line.split(":", 1) for line in lines[: lines.index("")] if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = fields.get("flags", "").split()
    known = [flag for flag in FLAGS if flag in flags]
    numbers = "/".join(fields.get(name, "?") for name in ("cpu family", "model", "stepping"))
    return f"{fields.get('model name', 'unknown processor')} ({numbers}): {' '.join(known)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="RxKxN")
    parser.add_argument("--isas", nargs="+", default=ISAS, help="values of ONEDNN_MAX_CPU_ISA")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rounds < 1 or args.threads < 1:
        raise ValueError("--rounds and --threads must be at least 1")
    if not all(re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*", size) for size in args.sizes):
        raise ValueError("--sizes are three numbers each: rows x inner x columns, 40x512x1536")
    if args.here:
        run_here(args)
        return
    found = {isa: json.loads(run_as(isa, args.rounds, args).splitlines()[-1]) for isa in args.isas}
    print(f"{processor()}, {args.threads} thread{'s' if args.threads > 1 else ''}, ms\n")
    heads = ["product", "processor", "torch, float32", "float32", "bfloat16", "int8, eight bits", "int8, seven bits"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for size in args.sizes:
        for isa in args.isas:
            times = found[isa]["products"][size]
            cells = [f"{times[way]:.3f}" + ("" if times.get(f"{way} is exact", True) else " !") for way in WAYS]
            print("| " + " | ".join([size.replace("x", " x "), isa, *cells]) + " |")
    heads = ["processor", "int8 is", "bfloat16 is faster", "kernels: int8", "bfloat16", "float32"]
    print("\n| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for isa in args.isas:
        names = kernels(run_as(isa, 1, args, verbose=1))
        cells = [isa, found[isa]["int8"], str(found[isa]["bfloat16"])]
        print("| " + " | ".join([*cells, *(names.get(kind, "-") for kind in ("u8", "bf16", "f32"))]) + " |")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
