"""The one door by which a checkpoint comes in: for this package's commands and, under `--user-dir`, for fairseq's.

A stranger's file runs nothing and takes no more memory than it holds: `stored.py` builds its tensors, numbers and words
and nothing else, `settings.py` compares every setting with its field, and a model is built without memory first, so
that one with more parameters than the file holds is refused before it takes any.
"""

import copy
import functools
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar

import torch
from fairseq import checkpoint_utils
from fairseq.models import ARCH_MODEL_NAME_REGISTRY
from torch import Tensor
from torch.nn import init
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from . import stored
from .literals import read_literal
from .ops.sparse import whole_sizes
from .settings import NoCheckpoint, SettingsError, check_state

MODELS = ("attn_rnn_s2s", "attn_rnn_s2t", "lstm", "transformer", "transformer_align", "fconv", "lightconv")
TASKS = ("attn_translation", "translation", "speech_to_text")
"""What this package's commands load: its own and fairseq's models of text. Others, if the caller trusts the file."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot or must not be read; the message says which and why."""


class Loading:
    """A model that is being loaded: what its file holds, and what it may be.

    Attributes:
        name: of the file.
        sizes: elements of each of its parameters, by name; None before it is read.
        is_own: whether a command of this package loads it, without `trust_checkpoint`.
    """

    def __init__(self, is_own: bool = False):
        self.name, self.sizes = "", None
        self.is_own = is_own


_LOADING: ContextVar[Loading | None] = ContextVar("loading", default=None)


def allow_for_torch() -> None:
    """Lets `torch.load(weights_only=True)` read fairseq's checkpoints, for whoever reads one without this module."""
    allowed = [(stand_in, name) for name, stand_in in stored.NUMPY.items()]
    allowed += [(kind, f"{kind.__module__}.{kind.__qualname__}") for kind in (stored.StoredDtype, stored.StoredArray)]
    torch.serialization.add_safe_globals([stored.Namespace, *allowed])


def read(path) -> dict:
    """What a checkpoint holds, its settings unchecked: to be stored again, not to be acted upon.

    Args:
        path: of the file, or the open file.

    Raises:
        CheckpointError: it is broken, or would run something.
        OSError: it cannot be opened.
    """
    name = _name_of(path)
    try:
        return stored.read(path)
    except stored.Refused as error:
        raise CheckpointError(
            f"{name} is refused: {one_line(error)}. It may hold code of somebody else; nothing of it was run."
        ) from None
    except stored.StoredFileError as error:
        raise CheckpointError(f"{name} is empty, truncated or not a checkpoint ({one_line(error)})") from None


def _name_of(path) -> str:
    return os.fspath(path) if isinstance(path, str | os.PathLike) else str(path.name)


def read_checked(path) -> dict:
    """What a checkpoint holds, with settings that fit their fields; arguments and errors as of `read`."""
    state, name = read(path), _name_of(path)
    try:
        check_state(state)
        loading = _LOADING.get()
        if loading is not None:
            loading.name = name
            loading.sizes = whole_sizes(parameters_of(state))
            _check_counts(state, len(loading.sizes))
            if loading.is_own:
                check_is_known(state)
    except NoCheckpoint as error:
        raise CheckpointError(f"{name} is not a checkpoint of fairseq: {error}") from None
    except ValueError as error:
        raise CheckpointError(f"{name} is refused: {one_line(error)}. Nothing of it was run.") from None
    return state


def parameters_of(state: dict) -> dict[str, Tensor]:
    """Of the model. Raises NoCheckpoint where there are none, or what is none of them."""
    model = state.get("model")
    if not isinstance(model, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in model.items()
    ):
        raise NoCheckpoint("it holds no model")
    return model


def _model_settings(state: dict) -> list[dict]:
    """The settings of the model, in both forms."""
    found = [state.get("args"), (state.get("cfg") or {}).get("model")]
    return [group if isinstance(group, dict) else vars(group) for group in found if group is not None]


def _check_counts(state: dict, parameters: int) -> None:
    """Raises SettingsError for more layers and the like than the file has parameters: they are built one by one."""
    for settings in _model_settings(state):
        is_ours = str(settings.get("_name") or settings.get("arch")).startswith(("attn_rnn_", "lstm"))
        for name, value in settings.items():
            with suppress(ValueError, TypeError):
                value = read_literal(value)
            if not isinstance(value, int | float):
                continue
            if re.search(r"layers|depth|halvings|heads|blocks", name) and value > max(64, parameters):
                raise SettingsError(f"{name} {value} make a model of {TOO_MANY} {parameters} that the file holds")
            if name.endswith("_positions") and not is_ours and value > MOST_POSITIONS:
                raise SettingsError(f"{name} {value}: more than {MOST_POSITIONS}, for which a table would be made")


def check_is_known(state: dict) -> None:
    """Raises SettingsError for a task or an architecture that this package's commands do not load."""
    task = (state.get("cfg") or {}).get("task") or {}
    names = [("--task", (task if isinstance(task, dict) else vars(task)).get("_name"))]
    for settings in _model_settings(state):
        is_flat = "task" in settings and "arch" in settings
        names += [("--arch", settings.get("_name") or settings.get("arch"))]
        names += [("--arch", settings["arch"]), ("--task", settings["task"])] if is_flat else []
    if not any(name for _, name in names):
        raise NoCheckpoint("it does not say what model it holds")
    for option, name in names:
        known = ARCH_MODEL_NAME_REGISTRY.get(name) in MODELS if option == "--arch" else name in TASKS
        if name and not known:
            choices = MODELS if option == "--arch" else TASKS
            raise SettingsError(
                f"{option} {name} is none of {', '.join(choices)}; --trust-checkpoint (trust_checkpoint=True) loads it"
            )


def load_model(path: str | os.PathLike, overrides: dict, *, trust_checkpoint: bool = False):
    """A model and its task out of a checkpoint.

    Args:
        overrides: settings that take the place of the file's.
        trust_checkpoint: load models and tasks of fairseq that are not named in `MODELS` and `TASKS`, too. A file still
            runs nothing, but these open what their settings name.

    Returns:
        The model, the settings as fairseq has them, and the task.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: the file is broken, holds settings that are none, or parameters of another model.
        ValueError: the settings do not go together or with the dictionaries.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: there is no such file")
    path = str(path)
    token = _LOADING.set(Loading(is_own=not trust_checkpoint))
    try:
        with torch.random.fork_rng(devices=[]):  # the parameters that a new model starts with are drawn, then replaced
            models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([path], arg_overrides=overrides)
    except (CheckpointError, OSError):
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from error
    except Exception as error:  # settings of the right types that make no model fail anywhere
        raise CheckpointError(f"{path} makes no model: {type(error).__name__}: {one_line(error)}") from error
    finally:
        _LOADING.reset(token)
    return models[0], cfg, task


def one_line(error: Exception) -> str:
    """The message, without its line breaks, not too much of it."""
    text = "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))
    return text if len(text) <= 300 else text[:297] + "..."


# --- what takes the place of fairseq's functions: see `fairseq_patches.py` ---


class TorchWithSafeLoad:
    """The module `torch` as `fairseq.checkpoint_utils` sees it: its `load` is `read_checked`."""

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name: str):
        return getattr(self._module, name)

    @staticmethod
    def load(file, *args, **kwargs):
        return read_checked(file)


def name_the_file(load: Callable) -> Callable:
    """Wraps `load_checkpoint_to_cpu(path, ...)` so that a file which is no checkpoint of fairseq's is named."""

    @functools.wraps(load)
    def load_or_explain(path, *args, **kwargs):
        try:
            return load(path, *args, **kwargs)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise CheckpointError(f"{path} is not a checkpoint of fairseq: it lacks {one_line(error)}") from error

    return load_or_explain


def load_within_sizes(load: Callable) -> Callable:
    """Wraps `load_model_ensemble_and_task(filenames, ...)`, so that `build_within_sizes` knows what the file holds."""

    @functools.wraps(load)
    def load_models(*args, **kwargs):
        if _LOADING.get() is not None:
            return load(*args, **kwargs)
        token = _LOADING.set(Loading())
        try:
            return load(*args, **kwargs)
        finally:
            _LOADING.reset(token)

    return load_models


def build_within_sizes(build: Callable) -> Callable:
    """Wraps `build_model(cfg, task, ...)`: while a checkpoint is loaded, without memory first."""

    @functools.wraps(build)
    def build_model(cfg, task, *args, **kwargs):
        loading = _LOADING.get()
        if loading is not None and loading.sizes is not None:
            sizes, loading.sizes = loading.sizes, None
            _check_sizes(lambda: build(copy.deepcopy(cfg), task, *args, **kwargs), sizes, loading.name)
        return build(cfg, task, *args, **kwargs)

    return build_model


TOO_MANY = "more parameters than the"
MOST_POSITIONS = 1 << 17
SPARE = 1 << 20
"""Numbers that a model may have beside its file's: of what it makes anew."""


class _NoNormalNumbers(TorchFunctionMode):
    """Leaves out `normal_`, for which torch imports its compiler (1.3 s) where a tensor has no memory."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.Tensor.normal_, init.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _check_sizes(build: Callable, sizes: dict[str, int], name: str) -> None:
    """Builds a model whose parameters take no memory. Raises CheckpointError if it has more than the file holds."""
    held, seen = sum(sizes.values()), [0, 0]
    message = f"{name} is refused: its settings make a model of {TOO_MANY} {held:,} that the file holds"
    thread = threading.get_ident()

    def count(module, _, parameter) -> None:
        if parameter is None or threading.get_ident() != thread:
            return
        seen[0] += 1
        seen[1] += parameter.numel()
        # Some are registered more than once: tied ones, and those that are made in parts.
        if seen[0] > 4 * len(sizes) + 64 or seen[1] > 4 * held + SPARE:
            raise CheckpointError(message)

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), _NoNormalNumbers():
            model = build()
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, CheckpointError):
            raise
        return  # it needs numbers to be built; `count` has seen what it began with
    finally:
        hook.remove()
    if sum(parameter.numel() for parameter in model.parameters()) > held + SPARE:
        raise CheckpointError(message)
