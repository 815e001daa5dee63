"""What a node asks of its process: as many open files as it may have, and no long pauses to look for garbage."""

import gc
import resource
from contextlib import suppress

# Allocations that outlived their deallocations before the young are looked through; rounds of that before the middle,
# and of those before all. A look at all of a node of 5,000 sockets stops it for half a second, and Python's own numbers
# bring one with every fourth that is added; with these it comes once in 2 million, some 30,000 sockets that have gone.
GC_THRESHOLDS = (5_000, 10, 40)


def open_files() -> None:
    """Each socket is one, and the limit that a shell gives by default is for fewer."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # some systems name a limit here that they do not mean
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def settle_memory() -> None:
    """Once all is loaded and running: what is there now stays, and is never looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
