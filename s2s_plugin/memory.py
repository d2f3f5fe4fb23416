"""The memory of a training on a CPU, bounded when one starts.

torch's optimizers import its compiler, 65 MB and more than a second, to keep it out of four of their methods.

oneDNN compiles a kernel for each shape of a product and keeps the last 1,024 of them; ideep, between it and ATen, keeps
as many more. One takes about half a megabyte, all of them more than half a gigabyte once the batches of an epoch have
come by. Of a whole batch hardly a shape comes again; those of its loop over time do, with the next batch of as many
sentences, and making them anew was 5 % of a training in float32 that oneDNN multiplied (of one in bfloat16, nothing to
speak of). Both caches read their capacity from the environment at the first product of the process; torch has no other
door to them.

glibc's malloc takes small blocks and large ones from one heap, which what lies between them keeps large. Blocks above a
threshold come from the system and go back to it, but glibc raises that to 32 MiB as large blocks are freed: a
batch's logits, 24 MiB in the recipe, of which fairseq's own criterion makes several copies, then tear holes into the
heap. A fixed threshold keeps them out of it. A much lower one costs time, since the system clears what it gives.
"""

import ctypes
import os
import sys

from torch.optim import Optimizer

CAPACITY = 64
"""Of each cache, in kernels. A loop over time has products of about ten shapes, a whole batch of about forty."""
VARIABLES = (("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"), ("LRU_CACHE_CAPACITY",))
"""The variable of each cache, with its former name."""
MMAP_THRESHOLD = 16 * 2**20
"""In bytes. Blocks from here on come from the system."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def bound_caches() -> None:
    """Sets the capacities where the user has not. Where the process has formed a product before, that is too late."""
    for names in VARIABLES:
        if not any(name in os.environ for name in names):
            os.environ[names[0]] = str(CAPACITY)


def bound_heap() -> None:
    """Fixes malloc's threshold where malloc is glibc's and the user has not set it."""
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "glibc.malloc.mmap_threshold" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows
        return
    set_option(_M_MMAP_THRESHOLD, MMAP_THRESHOLD)
    set_option(_M_TRIM_THRESHOLD, 2 * MMAP_THRESHOLD)  # glibc's own ratio


def leave_out_compiler() -> None:
    """Has optimizers run without it. Where it is there already, nothing changes."""
    if "torch._dynamo" in sys.modules:
        return
    for name in ("state_dict", "load_state_dict", "zero_grad", "add_param_group"):
        plain = getattr(getattr(Optimizer, name, None), "__wrapped__", None)
        if plain is not None:
            plain.__dynamo_disable = plain  # where torch keeps what the compiler makes of it
