"""Averages the parameters of checkpoints of one training and writes a model without the optimizer's state.

usage: average_checkpoints.py --output MODEL.pt CHECKPOINT.pt [CHECKPOINT.pt ...]

Averaging the last epochs usually translates better than the best of them (Junczys-Dowmunt, Dwojak and Sennrich 2016,
https://aclanthology.org/W16-2316). One checkpoint is copied, a third of its size. Checkpoints are read with
`weights_only=True`: a stranger's file runs no code.
"""

import argparse
import os
import sys
from collections.abc import Iterable

import torch
from fairseq import checkpoint_utils

from s2s_plugin.checkpoints import CheckpointError


def average(states: Iterable[dict]) -> dict:
    """The mean of each floating-point tensor, in float64 and back; other tensors are the last state's.

    Raises:
        ValueError: the states do not hold the same parameters.
    """
    sums, count, last = {}, 0, {}
    for last in states:
        count += 1
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True)
    parser.add_argument("checkpoints", nargs="+")
    args = parser.parse_args()
    result = {}

    def models():
        # One after the other: with their optimizers' states they are large.
        for path in args.checkpoints:
            checkpoint_utils.load_checkpoint_to_cpu(path)  # refuses what is none, and says why
            result.update(torch.load(path, map_location="cpu", weights_only=True))
            yield result["model"]

    averaged = average(models())
    # Resuming needs the optimizer's state, translating does not; fairseq expects the entry.
    result.update(model=averaged, last_optimizer_state=None)
    torch.save(result, args.output + ".new")
    os.replace(args.output + ".new", args.output)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, CheckpointError) as error:
        sys.exit(f"error: {error}")
