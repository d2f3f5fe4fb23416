"""Measures training and beam search of this plugin against fairseq's `lstm`: same sizes, same batches, in alternation.

usage: python scripts/benchmark.py DATA [--device cuda] [--max-tokens 1000 2500] [--repeats 5] ...

DATA is a folder of fairseq-preprocess, for example work/en_zh/data-bin. Every system runs through fairseq's trainer and
generator in this process, one after the other, `--repeats` times over the same batches; the table gives medians, and
the median of the ratios to `lstm` of the same round. Generation makes hypotheses of a fixed length, so that all systems
do the same work. Peak memory is that of a process of its own. Let nothing else run meanwhile.
"""

import argparse
import json
import logging
import resource
import statistics
import subprocess
import sys
import time
import warnings
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIZES = (
    "--encoder-embed-dim 256 --encoder-hidden-size 256 --encoder-bidirectional --decoder-embed-dim 256 "
    "--decoder-hidden-size 512 --decoder-out-embed-dim 256 --share-decoder-input-output-embed"
)
TRAINING = "--optimizer adam --lr 1e-3 --clip-norm 1.0 --dropout 0.4 --label-smoothing 0.1"
OURS = "--task attn_translation --arch attn_rnn_s2s --criterion attn_label_smoothed_cross_entropy"
SYSTEMS = {
    "lstm": "--task translation --arch lstm --criterion label_smoothed_cross_entropy",
    "attn_rnn_s2s": OURS,
    "attn_rnn_s2s, bfloat16": f"{OURS} --compute-dtype bfloat16",
    "attn_rnn_s2s_gnmt": f"{OURS} --attn-mode parallel",
    "attn_rnn_s2s_gnmt, bfloat16": f"{OURS} --attn-mode parallel --compute-dtype bfloat16",
}


class System:
    """A model with fairseq's trainer and generator around it."""

    def __init__(self, arguments: str, options: Namespace):
        import torch
        from fairseq import options as fairseq_options
        from fairseq import tasks
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf
        from fairseq.trainer import Trainer

        words = [options.data, "--user-dir", str(ROOT / "s2s_plugin"), "--max-tokens", str(options.max_tokens[0])]
        words += f"{arguments} {SIZES} {TRAINING} {'--cpu' if options.device == 'cpu' else ''}".split()
        args = fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), words)
        cfg = convert_namespace_to_omegaconf(args)
        torch.manual_seed(1)
        self.device = options.device
        self.task = tasks.setup_task(cfg.task)
        self.task.load_dataset("train")
        self.dataset = self.task.dataset("train")
        model, criterion = self.task.build_model(cfg.model), self.task.build_criterion(cfg.criterion)
        self.trainer = Trainer(cfg, self.task, model, criterion)
        self.search = Namespace(beam=options.beam, min_len=options.length, max_len_a=0, max_len_b=options.length)

    def collate(self, batches) -> list:
        """Samples of the batches, which are lists of indices."""
        return [self.dataset.collater([self.dataset[index] for index in batch]) for batch in batches]

    def train(self, samples) -> float:
        """One update a sample. Returns target tokens a second."""
        self.synchronize()
        start = time.perf_counter()
        for sample in samples:
            self.trainer.train_step([sample])
        self.synchronize()
        return sum(sample["ntokens"] for sample in samples) / (time.perf_counter() - start)

    def generate(self, samples) -> float:
        """Beam search over the samples. Returns sentences a second."""
        from fairseq import utils

        model = self.trainer.model.eval()
        generator = self.task.build_generator([model], self.search)
        if self.device == "cuda":
            samples = [utils.move_to_cuda(sample) for sample in samples]
        self.synchronize()
        start = time.perf_counter()
        for sample in samples:
            self.task.inference_step(generator, [model], sample)
        self.synchronize()
        seconds = time.perf_counter() - start
        model.train()
        return sum(sample["nsentences"] for sample in samples) / seconds

    def synchronize(self) -> None:
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()


def choose_batches(dataset, max_tokens: int, count: int) -> list:
    """`count` batches of at most `max_tokens`, spread evenly over all lengths."""
    import numpy

    numpy.random.seed(1)
    batches = dataset.batch_by_size(dataset.ordered_indices(), max_tokens=max_tokens)
    return [batches[round(place)] for place in numpy.linspace(0, len(batches) - 1, min(count, len(batches)))]


def measure(systems: dict, max_tokens: int, options: Namespace) -> dict:
    """Rates of every system in every round: {name: {"train": [tokens/s, ...], "generate": [sentences/s, ...]}}."""
    first = next(iter(systems.values()))
    batches = choose_batches(first.dataset, max_tokens, options.batches)
    samples = {name: system.collate(batches) for name, system in systems.items()}
    searched = {name: system.collate([b[: options.sentences] for b in batches]) for name, system in systems.items()}
    rates = {name: {"train": [], "generate": []} for name in systems}
    for round_number in range(options.repeats + 1):
        for name, system in systems.items():
            train, generate = system.train(samples[name]), system.generate(searched[name])
            if round_number > 0:  # the first warms up
                rates[name]["train"].append(train)
                rates[name]["generate"].append(generate)
        print(f"  round {round_number} of {options.repeats}", file=sys.stderr, flush=True)
    return rates


def peak_memory(name: str, max_tokens: int, options: Namespace) -> float:
    """Peak memory in MiB of a process that trains on the same batches with one system alone."""
    words = [sys.executable, __file__, options.data, "--device", options.device, "--memory-of", name]
    words += ["--max-tokens", str(max_tokens), "--batches", str(options.batches), "--threads", str(options.threads)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["mib"]


def print_memory(options: Namespace) -> None:
    import torch

    system = System(SYSTEMS[options.memory_of], options)
    system.train(system.collate(choose_batches(system.dataset, options.max_tokens[0], options.batches)))
    if options.device == "cuda":
        mib = torch.cuda.max_memory_allocated() / 2**20
    else:
        mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"mib": mib}))


def print_table(max_tokens: int, rates: dict, memory: dict, options: Namespace) -> None:
    columns = f"training, tokens/s | ratio | peak MiB | beam {options.beam}, sentences/s | ratio"
    print(f"\n| --max-tokens {max_tokens} | {columns} |\n|---|---|---|---|---|---|")
    for name, rate in rates.items():
        cells = []
        for kind in ("train", "generate"):
            ratios = [a / b for a, b in zip(rate[kind], rates["lstm"][kind], strict=True)]
            cells.append(f"{statistics.median(rate[kind]):,.0f} | {statistics.median(ratios):.2f}")
        print(f"| {name} | {cells[0]} | {memory[name]:,.0f} | {cells[1]} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of fairseq-preprocess")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--max-tokens", type=int, nargs="+", default=[1000, 2500], help="sizes of a batch")
    parser.add_argument("--batches", type=int, default=16, help="batches in a round")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count, after one that does not")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--length", type=int, default=15, help="tokens of a hypothesis")
    parser.add_argument("--sentences", type=int, default=32, help="sentences of a batch in generation")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as cores")
    parser.add_argument("--memory-of", choices=SYSTEMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not Path(options.data).is_dir():
        parser.error(f"no folder {options.data}: give the --destdir of fairseq-preprocess")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no GPU here")
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    if options.memory_of:
        return print_memory(options)
    for max_tokens in options.max_tokens:
        systems = {name: System(arguments, options) for name, arguments in SYSTEMS.items()}
        rates = measure(systems, max_tokens, options)
        del systems
        print_table(max_tokens, rates, {name: peak_memory(name, max_tokens, options) for name in SYSTEMS}, options)


if __name__ == "__main__":
    main()
