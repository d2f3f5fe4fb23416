"""Averages the parameters of checkpoints of one training and writes a model without the optimizer's state.

usage: average_checkpoints.py --output MODEL.pt [--best N] [--ema] CHECKPOINT.pt [CHECKPOINT.pt ...]

With --best, only the N of them that were best in validation, by the scores in the names that fairseq-train gives them
under --keep-best-checkpoints: checkpoint.best_bleu_36.1203.pt. With --ema, the moving average of the parameters that
fairseq-train --store-ema kept takes the place of the parameters.

Of a training with --prune-target, what is zero in one of them is zero in the mean.

Averaging the last epochs usually translates better than the best of them (Junczys-Dowmunt, Dwojak and Sennrich 2016,
https://aclanthology.org/W16-2316). One checkpoint is copied, a third of its size. Checkpoints are read with
`weights_only=True`: a stranger's file runs no code.
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from s2s_plugin.checkpoints import CheckpointError, read_checked
from s2s_plugin.compress.folder import options_of
from s2s_plugin.folder import forget_sum
from s2s_plugin.ops.int8 import SCALE
from s2s_plugin.ops.sparse import is_packed
from s2s_plugin.saving import save_in_one_step


def average(states: Iterable[dict]) -> dict:
    """The mean of each floating-point tensor, in float64 and back; other tensors are the last state's.

    Raises:
        ValueError: the states do not hold the same parameters, hold them in eight bits, or packed.
    """
    sums, count, last = {}, 0, {}
    for last in states:
        count += 1
        if any(name.endswith(SCALE) for name in last):
            raise ValueError("a checkpoint is in eight bits: average first, then python -m s2s_plugin quantize")
        if is_packed(last):
            raise ValueError("a checkpoint is packed: average first, then python -m s2s_plugin pack")
        if sums and {k: v.shape for k, v in sums.items()} != {k: v.shape for k, v in last.items()}:
            raise ValueError("the checkpoints do not hold the same parameters: are they of one training?")
        for name, tensor in last.items():
            sums[name] = sums[name] + tensor.double() if name in sums else tensor.double()
    averaged, shared = {}, {}
    for name, tensor in last.items():
        # Tied parameters are one tensor under two names and stay one.
        place = (tensor.data_ptr(), tensor.shape)
        if place not in shared:
            shared[place] = (sums[name] / count).to(tensor.dtype) if tensor.is_floating_point() else tensor
        averaged[name] = shared[place]
    return averaged


def add_zeros(zeros: dict, state: dict) -> None:
    """Notes where a matrix of the state is zero. Args: zeros, a bool tensor for each name."""
    for name, tensor in state.items():
        if tensor.dim() == 2 and tensor.is_floating_point():
            zeros[name] = zeros.get(name, False) | (tensor == 0)


def best_of(paths: list[str], count: int) -> list[str]:
    """The `count` checkpoints whose names hold the highest scores.

    fairseq adds a digit to the three decimals so that equal scores make different names.

    Raises:
        ValueError: a name without a score.
    """
    scores = {}
    for path in paths:
        found = re.search(r"checkpoint\.best_\w+_(\d+\.\d+)\.pt$", path)
        if found is None:
            raise ValueError(f"--best: the name of {path} holds no score")
        scores[path] = float(found.group(1))
    return sorted(paths, key=scores.get, reverse=True)[:count]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True)
    parser.add_argument("--best", type=int)
    parser.add_argument("--ema", action="store_true")
    parser.add_argument("checkpoints", nargs="+")
    args = parser.parse_args()
    chosen = best_of(args.checkpoints, args.best) if args.best else args.checkpoints
    result, zeros = {}, {}

    def models():
        # One after the other: with their optimizers' states they are large.
        for path in chosen:
            result.update(read_checked(path))
            if args.ema and "ema" not in result["extra_state"]:
                raise ValueError(f"{path} holds no moving average: train with --store-ema")
            if options_of(result, "task").get("prune_target"):
                add_zeros(zeros, result["model"])
            yield result["extra_state"].pop("ema") if args.ema else result["model"]

    averaged = average(models())
    # While a model is pruned its zeros only become more. The mean, and the moving average, would fill them.
    for name, places in zeros.items():
        averaged[name].masked_fill_(places, 0)
    # Resuming needs the optimizer's state, translating does not; fairseq expects the entry.
    result.update(model=averaged, last_optimizer_state=None)
    forget_sum(Path(args.output))
    save_in_one_step(result, args.output)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, CheckpointError) as error:
        sys.exit(f"error: {error}")
