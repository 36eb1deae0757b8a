"""The visitor of a network's blocks, in series and in parallel branches.

Everything that goes through a network block by block is a `BlockVisitor`: Keras layers
(`layers.wiring`), forecasts of windows and of single rows in NumPy (`inference.batch`,
`inference.streaming`), the exported file (`inference.export`), derivatives
(`training.forward_mode`), and the widths from which shapes of weights follow (`networks.weights`).
A new kind of block is a class in `networks.description`, a row of `METHODS`, and a `visit_` method
in every subclass that supports it. `layers.wiring.count_wanted_steps` names the blocks without a
state, before which fewer steps are computed, `weights.first_network_states` those with one; a
first value of weights that `cells.base.Initializer` lacks is a case of `weights.draw`.
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
"""By kind of block, the method `visit_<kind>(block, path, x)` that gives its output."""


class BlockVisitor(Generic[Value]):
    """Carries a value (a tensor, an array, a width ...) from the input of the first block to the
    output of the last.

    A subclass has a method of `METHODS` for each kind of block that it supports, and
    `join_branches`; other kinds go to `visit_default`, which refuses them with `unfit_reason`. The
    path of a block is its name, inside parallel blocks "name/branch/name", as in
    `description.walk_blocks`; it is the prefix of the names of its weights.
    """

    unfit_reason = "which is no kind of block that is known here"

    def visit_series(self, blocks: Sequence[Block], prefix: str, x: Value) -> Value:
        """The output of blocks in series; `prefix` is that of their paths."""
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
        """The value of a parallel block from those of its branches."""
        raise NotImplementedError

    def visit_default(self, block: Block, path: str, x: Value) -> Value:
        """The output of a block without a method of its own; `InputError` unless overridden."""
        raise InputError(f"Block {path!r} is a {type(block).__name__}, {self.unfit_reason}.")

    def visit_dropout(self, block: Dropout, path: str, x: Value) -> Value:
        """The input as it is: dropout acts in training alone."""
        return x
