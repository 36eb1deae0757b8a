"""The one walk over the blocks of a network, in series and side by side.

What goes through a network in the order of its blocks is a `BlockVisitor`: the Keras layers
(`layers.wiring`), windows and single rows in NumPy (`inference.batch`, `inference.streaming`), the
written-out file (`inference.export`), derivatives (`training.forward_mode`), and the widths that
shapes of weights follow from (`networks.weights`).

A subclass gives a `visit_` method per kind of block, from the value before the block to the one
after it (`Value`: a tensor, an array, a width ...), and `visit_series` calls them in order with
each block's path, the prefix of its weights' names. A block that a subclass has no method for is
refused in its words (`unfit_reason`). The next kind of block is a class in `networks.description`
with a `visit_` method here, and one in every subclass that shall know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from forecast.networks.description import (
    Bidirectional,
    Block,
    Dense,
    Dropout,
    EncoderDecoder,
    Parallel,
    Recurrent,
    Segments,
    Taps,
)
from forecast.system.errors import InputError

Value = TypeVar("Value")
METHODS: dict[type[Block], str] = {
    Dense: "visit_dense",
    Dropout: "visit_dropout",
    Taps: "visit_taps",
    Segments: "visit_segments",
    Recurrent: "visit_recurrent",
    Bidirectional: "visit_bidirectional",
    EncoderDecoder: "visit_encoder_decoder",
    Parallel: "visit_parallel",
}
"""The method of a visitor that makes the output of a kind of block: `visit_<kind>(block, path, x)`.
"""


class BlockVisitor(Generic[Value]):
    """Carries a value, the input of the first block, through to the output of the last.

    A subclass says by the methods of `METHODS` what each kind of block makes of its input, and by
    `join_branches` how those of parallel branches become one; a kind that it has no method for
    comes to `visit_default`, which refuses it. A block's path is its name, inside parallel blocks
    "name/branch/name", as in `description.walk_blocks`; its weights are named by it.
    """

    unfit_reason = "which is no kind of block that is known here"

    def visit_series(self, blocks: Sequence[Block], prefix: str, x: Value) -> Value:
        """The output of blocks one after the other; `prefix` stands before their names."""
        for block in blocks:
            x = self.visit_block(block, prefix + block.name, x)
        return x

    def visit_block(self, block: Block, path: str, x: Value) -> Value:
        """The output of one block, by the method for its kind."""
        visit = getattr(self, METHODS.get(type(block), ""), self.visit_default)
        return visit(block, path, x)

    def visit_parallel(self, block: Parallel, path: str, x: Value) -> Value:
        """The outputs of all branches on the same input, joined."""
        branches = block.prefixed_branches(path)
        outputs = [self.visit_series(branch, prefix, x) for prefix, branch in branches]
        return self.join_branches(block, path, outputs)

    def join_branches(self, block: Parallel, path: str, outputs: list[Value]) -> Value:
        """One value from those of the branches: concatenated or summed, as the block says."""
        raise NotImplementedError

    def visit_default(self, block: Block, path: str, x: Value) -> Value:
        """What becomes of a block without a method of its own; InputError unless overridden."""
        raise InputError(f"Block {path!r} is a {type(block).__name__}, {self.unfit_reason}.")

    def visit_dropout(self, block: Dropout, path: str, x: Value) -> Value:
        """The output of a dropout block: outside training its input."""
        return x
