"""The lock of `make bench-setup` in three: torch for a processor (torch.lock), for CUDA
(cuda.lock), and the rest.

    python -m bench.peers.locks LOCK      (part of make lock)

PyPI's torch for Linux is the CUDA build; it wants 2.5 GB of libraries at import, on a processor
too. torch's own CPU wheel wants none of them: it is taken where pip is told of a place that has it
(PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL), and what cuda.lock names is installed elsewhere. Two files,
because pip prefers PyPI's where both hashes stand in one.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
# torch 2.13.0+cpu, cp311, x86-64
CPU_WHEEL = "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
NOTE = "# made by `make lock`; see bench/peers/locks.py\n"


def split(lock: str) -> dict[str, str]:
    """By name of the file its content, from a lock of everything with the hashes of PyPI."""
    blocks = [block for block in re.split(r"(?m)^(?=[a-z])", lock) if block.strip()]
    cuda = [block for block in blocks if re.match(r"(nvidia-|cuda-|triton=|torch=)", block)]
    (torch,) = (block.split()[0] for block in cuda if block.startswith("torch="))
    return {
        "requirements.lock": "".join(block for block in blocks if block not in cuda),
        "torch.lock": f"{torch} \\\n    --hash=sha256:{CPU_WHEEL}\n",
        "cuda.lock": "".join(cuda),
    }


if __name__ == "__main__":
    for name, part in split(Path(sys.argv[1]).read_text()).items():
        (FOLDER / name).write_text(NOTE + part)
