"""Measures training and beam search of this plugin against fairseq's `lstm`: same sizes, same batches, in alternation.

usage: python scripts/benchmark.py [TEXT.src TEXT.tgt | DATA] [--sweep] [--memory] [--device cuda] ...

Give two text files, sentence by sentence, of which it learns a joint vocabulary of 8,000 pieces; or a folder of
fairseq-preprocess; or nothing, for the English-Chinese corpus in examples/. Every system runs through fairseq's trainer
and generator in this process, one after the other, --repeats times over the same batches; the tables give medians, and
the median of the ratios to `lstm` in the same round. Generation makes hypotheses of a fixed length, so that all systems
do the same work. Peak memory is that of a process of its own. Let nothing else run meanwhile.

--sweep measures sentences of a given length in batches of a given size, of random words; --memory the growth of a
process in one step with long sentences, against the loop of ops/reference.py. Where the time goes, benchmark_parts.py
says.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import time
import warnings
from argparse import Namespace
from pathlib import Path

from benchmark_data import choose_batches, find_data, random_sample

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SIZES = (
    "--encoder-embed-dim 256 --encoder-hidden-size 256 --encoder-bidirectional --decoder-embed-dim 256 "
    "--decoder-hidden-size 512 --decoder-out-embed-dim 256 --share-decoder-input-output-embed"
)
TRAINING = "--optimizer adam --lr 1e-3 --clip-norm 1.0 --dropout 0.4 --label-smoothing 0.1"
LSTM = "--task translation --arch lstm --criterion label_smoothed_cross_entropy"
OURS = "--task attn_translation --arch attn_rnn_s2s --criterion attn_label_smoothed_cross_entropy"
OF_LSTMS = f"{OURS} --encoder-cell lstm --decoder-cell lstm --decoder-bridge last"
LIKE = f"{OF_LSTMS} --attn-mode recurrent"
"""What `lstm` is, but for the attention."""
READING = "--coverage-attn --copy-attn --coverage-lambda 1"
"""What summarization adds."""
STEPS = ("reference", "fast", "fast, coverage and copying")
"""What --memory measures a step of."""
GNMT = f"{OF_LSTMS} --attn-mode parallel"
SYSTEMS = {
    "cpu": {
        "lstm": LSTM,
        "attn_rnn_s2s": OURS,
        "attn_rnn_s2s, bfloat16": f"{OURS} --compute-dtype bfloat16",
        "the same, coverage and copying": f"{OURS} {READING} --compute-dtype bfloat16",
        "attn_rnn_s2s of LSTMs": LIKE,
        "attn_rnn_s2s of LSTMs, bfloat16": f"{LIKE} --compute-dtype bfloat16",
        "attn_rnn_s2s_gnmt": GNMT,
        "attn_rnn_s2s_gnmt, bfloat16": f"{GNMT} --compute-dtype bfloat16",
    },
    "cuda": {
        "lstm": LSTM,
        "lstm, bf16": f"{LSTM} --bf16",
        "attn_rnn_s2s": OURS,
        "attn_rnn_s2s, bf16": f"{OURS} --bf16",
        "the same, coverage and copying": f"{OURS} {READING} --bf16",
        "attn_rnn_s2s of LSTMs": LIKE,
        "attn_rnn_s2s of LSTMs, bf16": f"{LIKE} --bf16",
        "attn_rnn_s2s_gnmt": GNMT,
        "attn_rnn_s2s_gnmt, bf16": f"{GNMT} --bf16",
    },
}


class System:
    """A model with fairseq's trainer and generator around it.

    Args:
        arguments: of fairseq-train, beyond those that all systems share.
        options: of this script.
    """

    def __init__(self, arguments: str, options: Namespace):
        import torch
        from fairseq import options as fairseq_options
        from fairseq import tasks
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf
        from fairseq.trainer import Trainer

        # The batches are those that this script chooses; fairseq wants to be told a size all the same.
        words = [options.data, "--user-dir", str(ROOT / "s2s_plugin"), "--max-tokens", "1000"]
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
        self.beam = options.beam

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

    def generate(self, samples, length: int) -> float:
        """Beam search over the samples, hypotheses of `length` tokens. Returns sentences a second."""
        from fairseq import utils

        model = self.trainer.model.eval()
        search = Namespace(beam=self.beam, min_len=length, max_len_a=0, max_len_b=length)
        generator = self.task.build_generator([model], search)
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


# --- measurements ---


def measure(systems: dict, samples: dict, searched: dict, length: int, repeats: int) -> dict:
    """Rates of every system in every round: {name: {"train": [tokens/s, ...], "generate": [sentences/s, ...]}}."""
    rates = {name: {"train": [], "generate": []} for name in systems}
    for kind in ("train", "generate"):  # one after the other, as people do it: the two leave memory in different shapes
        for round_number in range(repeats + 1):
            for name, system in systems.items():
                rate = system.train(samples[name]) if kind == "train" else system.generate(searched[name], length)
                if round_number > 0:  # the first warms up
                    rates[name][kind].append(rate)
            print(f"  {kind}: round {round_number} of {repeats}", file=sys.stderr, flush=True)
    return rates


def ratio(rates: dict, name: str, kind: str) -> float:
    """Median over the rounds of the ratio to `lstm` of the same round."""
    return statistics.median(a / b for a, b in zip(rates[name][kind], rates["lstm"][kind], strict=True))


def in_own_process(options: Namespace, **changes) -> dict:
    """What this script says of itself when called with other options: the JSON of its last line."""
    words = [sys.executable, __file__, options.data, "--device", options.device, "--threads", str(options.threads)]
    for name, value in changes.items():
        words += ["--" + name.replace("_", "-"), str(value)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def process_mib(field: str) -> float:
    """A field of /proc/self/status in MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith(field)).split()[1]) / 2**10


def peak_mib(device: str) -> float:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return process_mib("VmHWM")  # not getrusage, which starts from the peak of the process that started this one


def forget_peak(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def present_mib(device: str) -> float:
    if device == "cuda":
        import torch

        return torch.cuda.memory_allocated() / 2**20
    return process_mib("VmRSS")


def memory_of_training(options: Namespace) -> dict:
    system = System(SYSTEMS[options.device][options.memory_of], options)
    system.train(system.collate(choose_batches(system.dataset, options.max_tokens[0], options.batches)))
    return {"mib": peak_mib(options.device)}


def memory_of_step(options: Namespace) -> dict:
    """Growth of this process in a step with long sentences; `step_memory_of` is of `STEPS`."""
    system = System(f"{OURS} {READING}" if "copying" in options.step_memory_of else OURS, options)
    sample = random_sample(system.task.target_dictionary, 1, 4)
    system.train([sample])  # the optimiser's state and the kernels' own memory
    if options.step_memory_of == "reference":
        from s2s_plugin.modules import first_layer
        from s2s_plugin.ops import reference

        first_layer.recurrence = reference.recurrence
    forget_peak(options.device)
    before = present_mib(options.device)
    system.train([random_sample(system.task.target_dictionary, options.memory_sentences, options.memory_length)])
    return {"mib": peak_mib(options.device) - before}


# --- tables ---


def print_throughput(options: Namespace) -> None:
    names = SYSTEMS[options.device]
    for max_tokens in options.max_tokens:
        systems = {name: System(arguments, options) for name, arguments in names.items()}
        batches = choose_batches(next(iter(systems.values())).dataset, max_tokens, options.batches)
        samples = {name: system.collate(batches) for name, system in systems.items()}
        searched = {name: system.collate([b[: options.sentences] for b in batches]) for name, system in systems.items()}
        rates = measure(systems, samples, searched, options.length, options.repeats)
        del systems, samples, searched
        columns = f"training, tokens/s | ratio | peak MiB | beam {options.beam}, sentences/s | ratio"
        print(f"\n| --max-tokens {max_tokens} | {columns} |\n|---|---|---|---|---|---|")
        for name in names:
            memory = in_own_process(options, memory_of=name, max_tokens=max_tokens, batches=options.batches)["mib"]
            cells = [
                f"{statistics.median(rates[name][kind]):,.0f} | {ratio(rates, name, kind):.2f}"
                for kind in ("train", "generate")
            ]
            print(f"| {name} | {cells[0]} | {memory:,.0f} | {cells[1]} |", flush=True)


def print_sweep(options: Namespace) -> None:
    names = SYSTEMS[options.device]
    systems = {name: System(arguments, options) for name, arguments in names.items()}
    others = [name for name in names if name != "lstm"]
    print(f"\nRatios to lstm of training and of beam-{options.beam} search.\n")
    print("| words x sentences | lstm: tokens/s, sentences/s | " + " | ".join(others) + " |")
    print("|---|---|" + "---|" * len(others))
    for length in options.lengths:
        for sentences in options.batch_sizes:
            sample = random_sample(next(iter(systems.values())).task.target_dictionary, sentences, length)
            # Short steps several times: a round should last long enough to be timed.
            samples = dict.fromkeys(systems, [sample] * min(20, max(1, 4000 // (sentences * length))))
            searched = dict.fromkeys(systems, [sample])
            rates = measure(systems, samples, searched, length, options.repeats)
            base = [statistics.median(rates["lstm"][kind]) for kind in ("train", "generate")]
            cells = [f"{base[0]:,.0f}, {base[1]:,.1f}"]
            cells += [f"{ratio(rates, name, 'train'):.2f}, {ratio(rates, name, 'generate'):.2f}" for name in others]
            print(f"| {length} x {sentences} | " + " | ".join(cells) + " |", flush=True)


def print_memory(options: Namespace) -> None:
    sizes = {"memory_sentences": options.memory_sentences, "memory_length": options.memory_length}
    grown = {kind: in_own_process(options, step_memory_of=kind, **sizes)["mib"] for kind in STEPS}
    batch = f"{options.memory_sentences} sentences of {options.memory_length} words"
    print(f"\n| one step, {batch} | growth, MiB | share |")
    print("|---|---|---|")
    for kind, mib in grown.items():
        print(f"| {kind} | {mib:,.0f} | {mib / grown['reference']:.3f} |")


def common_parser(description: str) -> argparse.ArgumentParser:
    """The options that benchmark_parts.py has as well."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", type=Path, help="two text files, or a folder of fairseq-preprocess")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as cores")
    parser.add_argument("--work", type=Path, default=ROOT / "work" / "benchmark", help="folder for what is prepared")
    return parser


def parse(parser: argparse.ArgumentParser) -> Namespace:
    """Parses and checks the command line before anything is imported that takes time."""
    options = parser.parse_args()
    if len(options.data) > 2:
        parser.error("give two text files, or one folder of fairseq-preprocess, or nothing")
    if len(options.data) == 1 and not options.data[0].is_dir():
        parser.error(f"no folder {options.data[0]}: give the --destdir of fairseq-preprocess")
    if len(options.data) == 1 and not list(options.data[0].glob("dict.*.txt")):
        parser.error(f"no dict.*.txt in {options.data[0]}: give the --destdir of fairseq-preprocess")
    for path in options.data if len(options.data) == 2 else []:
        if not path.is_file():
            parser.error(f"no file {path}")
    for name, value in vars(options).items():
        numbers = [x for x in (value if isinstance(value, list) else [value]) if type(x) is int]
        if numbers and min(numbers) < (0 if name == "threads" else 1):
            parser.error(f"--{name.replace('_', '-')} must be at least {0 if name == 'threads' else 1}")
    return options


# Options of each kind of measurement, with their defaults; given with another kind they are refused.
MODES = {
    "throughput": {"max_tokens": [1000, 2500], "batches": 16, "repeats": 5, "beam": 5, "length": 15, "sentences": 64},
    "sweep": {"repeats": 5, "beam": 5, "lengths": [10, 30, 100], "batch_sizes": [8, 64]},
    "memory": {"memory_sentences": 8, "memory_length": 400},
}


def fill_mode(options: Namespace, parser: argparse.ArgumentParser) -> None:
    """Sets `options.mode` and its defaults; refuses options that would be ignored in it."""
    wants_memory = options.memory or options.step_memory_of
    options.mode = "sweep" if options.sweep else "memory" if wants_memory else "throughput"
    for name in sorted({name for defaults in MODES.values() for name in defaults}):
        allowed = MODES[options.mode]
        if getattr(options, name) is None:
            setattr(options, name, allowed.get(name))
        elif name not in allowed:
            owners = [mode if mode == "throughput" else f"--{mode}" for mode in MODES if name in MODES[mode]]
            parser.error(f"--{name.replace('_', '-')} goes with {' and '.join(owners)}, not with {options.mode}")


def parse_options() -> Namespace:
    parser = common_parser(__doc__)
    parser.add_argument("--device", choices=list(SYSTEMS), default="cpu")
    parser.add_argument("--max-tokens", type=int, nargs="+", help="sizes of a batch [1000 2500]")
    parser.add_argument("--batches", type=int, help="batches in a round [16]")
    parser.add_argument("--repeats", type=int, help="rounds that count, after one that warms up [5]")
    parser.add_argument("--beam", type=int, help="width of the search [5]")
    parser.add_argument("--length", type=int, help="tokens of a hypothesis [15]")
    parser.add_argument("--sentences", type=int, help="sentences of a batch in generation, at most [64]")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--sweep", action="store_true", help="by length and batch size instead, on random words")
    instead.add_argument("--memory", action="store_true", help="memory of a step with long sentences instead")
    parser.add_argument("--lengths", type=int, nargs="+", help="words, for --sweep [10 30 100]")
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="sentences, for --sweep [8 64]")
    parser.add_argument("--memory-sentences", type=int, help="for --memory [8]")
    parser.add_argument("--memory-length", type=int, help="words of source and target, for --memory [400]")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--step-memory-of", help=argparse.SUPPRESS)
    options = parse(parser)
    fill_mode(options, parser)
    return options


def start(options: Namespace) -> None:
    """Quiets what is imported, chooses the threads and makes `options.data` the folder to read."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: --device cuda: PyTorch sees no GPU here")
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    options.data = str(find_data(options.data, options.work))


def main() -> None:
    options = parse_options()
    start(options)
    if options.memory_of:
        print(json.dumps(memory_of_training(options)))
    elif options.step_memory_of:
        print(json.dumps(memory_of_step(options)))
    else:
        {"throughput": print_throughput, "sweep": print_sweep, "memory": print_memory}[options.mode](options)


if __name__ == "__main__":
    main()
