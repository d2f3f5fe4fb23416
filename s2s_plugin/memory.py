"""The memory of a training on a CPU, bounded when one starts.

oneDNN compiles a kernel for each shape of a product and keeps the last 1,024 of them; ideep, between it and ATen, keeps
as many more. One takes about half a megabyte, all of them more than a gigabyte once the batches of
an epoch have come by. Hardly a shape comes again but within its batch, so few serve as well. Both caches read their
capacity from the environment at the first product of the process; torch has no other door to them.
"""

import os

CAPACITY = 64
"""Of each cache, in kernels. A loop over time has products of about ten shapes, a whole batch of about forty."""
VARIABLES = (("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"), ("LRU_CACHE_CAPACITY",))
"""The variable of each cache, with its former name."""


def bound_caches() -> None:
    """Sets the capacities where the user has not. Where the process has formed a product before, that is too late."""
    for names in VARIABLES:
        if not any(name in os.environ for name in names):
            os.environ[names[0]] = str(CAPACITY)
