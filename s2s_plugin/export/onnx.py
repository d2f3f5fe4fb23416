"""A finished model as ONNX graphs, in a folder that translates without torch and fairseq.

`python -m s2s_plugin export --model FOLDER --output FOLDER` writes

    encoder.onnx, step.onnx     the graphs: see `graphs.py` for their inputs and outputs
    model.json                  their names in order, special words, languages, how the search goes
    words.LANG                  the symbols of both dictionaries, a line each, in the order of their numbers
    LANG.model                  the sentencepiece models, where the folder has them
    translate.py                a translator in numpy and onnxruntime: python translate.py < in > out
"""

import json
import logging
import shutil
import warnings
from contextlib import contextmanager
from pathlib import Path

import onnxscript  # noqa: F401  torch's exporter needs it: what is missing shows now
import torch
from torch import Tensor, nn

from ..compress.folder import new_folder
from ..models.attn_rnn_s2s import AttnRNNS2SModel
from ..translator import Translator
from . import runtime
from .graphs import SOURCE, STATE, EncoderGraph, Start, StepGraph

ENCODER, STEP, SETTINGS = "encoder.onnx", "step.onnx", "model.json"
ROWS, POSITIONS = 3, 5
"""Sizes of the example that is traced; graphs take any."""


def graph_names(start: Start) -> tuple[list[str], list[str], list[str]]:
    """Names of the encoder's outputs, and of the step's inputs and outputs."""
    made = [name for name, tensor in start._asdict().items() if tensor is not None]
    attends = start.keys is not None
    wanted = [name for name in made if name in STATE or (attends and name in SOURCE)]
    if start.values is not None:
        wanted.remove("memory")
    given = ["lprobs", "attn"] if attends else ["lprobs"]
    return made, ["prev_tokens", *wanted], given + [f"next_{name}" for name in STATE if name in made]


def dynamic_sizes(names: list[str], tensors: list[Tensor]) -> list[dict]:
    """For each tensor which of its dimensions can have any size: rows and positions."""
    first, second = {0: torch.export.Dim.DYNAMIC}, {1: torch.export.Dim.DYNAMIC}
    return [
        second if name in runtime.LAYERS_FIRST else first | second if tensor.dim() > 1 else first
        for name, tensor in zip(names, tensors, strict=True)
    ]


@contextmanager
def quiet():
    """Context without the exporter's hundreds of lines about itself; fairseq has the root logger print all of them."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def write_graph(graph: nn.Module, inputs: dict[str, Tensor], outputs: list[str], path: Path) -> None:
    """Traces a function and writes it as ONNX. Args: inputs, examples by their names, in order."""
    sizes = dynamic_sizes(list(inputs), list(inputs.values()))
    first, rest = sizes[0], tuple(sizes[1:])
    # The scans of former exports count against the most that torch traces of a function.
    torch._dynamo.reset()
    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            graph, tuple(inputs.values()), dynamo=True, verbose=False,
            input_names=list(inputs), output_names=outputs,
            dynamic_shapes=(first, rest) if rest else (first,),
        )  # fmt: skip
        # Where in our code each operation came from, with this machine's paths: half of the file.
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()
        program.save(path, external_data=False)


def export_model(model: nn.Module, output: Path) -> tuple[list[str], list[str], list[str]]:
    """Writes both graphs. Returns the names: of `graph_names`."""
    model.eval()
    encoder = EncoderGraph(model)
    pad, eos = model.encoder.dictionary.pad(), model.encoder.dictionary.eos()
    src_tokens = torch.full((ROWS, POSITIONS), model.encoder.dictionary.nspecial, dtype=torch.int64)
    src_tokens[:, -1], src_tokens[0, 0] = eos, pad
    with torch.no_grad():
        start = encoder.start(src_tokens)
    made, inputs, outputs = graph_names(start)
    write_graph(encoder, {"src_tokens": src_tokens}, made, output / ENCODER)
    prev_tokens = torch.full((ROWS,), eos)
    examples = {"prev_tokens": prev_tokens, **{name: getattr(start, name) for name in inputs[1:]}}
    write_graph(StepGraph(model, inputs[1:]), examples, outputs, output / STEP)
    return made, inputs, outputs


def search_settings(translator: Translator) -> dict:
    """How the model's folder searches, with fairseq's defaults for what it leaves open.

    Raises:
        ValueError: the folder asks for what `runtime.py` has not.
    """
    search = {"beam": 5, "lenpen": 1.0, "unkpen": 0.0, "max_len_a": 0.0, "max_len_b": 200, "min_len": 1}
    search |= translator.search
    if search.pop("no_repeat_ngram_size", 0):
        raise ValueError("--no-repeat-ngram-size in the folder's file `search`: the exported search has it not")
    return search


def export_folder(folder: Path, output: Path) -> int:
    """Writes the folder `model` of a recipe as graphs. Returns the bytes of both.

    Raises:
        FileNotFoundError, CheckpointError: what `Translator.load` raises.
        ImportError: the packages of the extra `export` are not there.
        ValueError: there is something in `output`, or the model cannot be exported.
    """
    if not hasattr(torch.compiler, "is_exporting"):
        raise ValueError(f"torch {torch.__version__} cannot export: 2.7 or newer is needed")
    translator = Translator.load(folder, shortlist=False)
    model, task = translator.model, translator.task
    if not isinstance(model, AttnRNNS2SModel):
        raise ValueError(f"{folder}: a model of {type(model).__name__}; attn_rnn_s2s and its presets can be exported")
    model.encoder.compute_dtype = model.decoder.compute_dtype = "float32"
    languages = task.cfg.source_lang, task.cfg.target_lang
    settings = {
        "languages": languages,
        "special": {name: getattr(task.target_dictionary, name)() for name in ("pad", "eos", "unk")},
        "search": search_settings(translator),
    }
    with new_folder(output) as new:
        settings |= zip(("start", "inputs", "outputs"), export_model(model, new), strict=True)
        (new / SETTINGS).write_text(json.dumps(settings, indent=1), encoding="utf-8")
        for lang, dictionary in zip(languages, (task.source_dictionary, task.target_dictionary), strict=True):
            (new / f"words.{lang}").write_text("".join(f"{word}\n" for word in dictionary.symbols), encoding="utf-8")
            if (folder / f"{lang}.model").is_file():
                shutil.copy(folder / f"{lang}.model", new)
        shutil.copy(runtime.__file__, new / "translate.py")
    return sum((output / name).stat().st_size for name in (ENCODER, STEP))
