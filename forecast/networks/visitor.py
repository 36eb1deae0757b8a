"""The one walk over the blocks of a network, in series and side by side.

What goes through a network in the order of its blocks is a `BlockVisitor`: the Keras layers
(`layers.wiring`), windows and single rows in NumPy (`inference.batch`, `inference.streaming`), the
written-out file (`inference.export`), derivatives (`training.forward_mode`), and the widths that
shapes of weights follow from (`networks.weights`).
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


class BlockVisitor(Generic[Value]):
    """Carries a value, the input of the first block, through to the output of the last.

    A subclass says by `visit_<kind>` what each kind of block makes of its input, and by
    `join_branches` how those of parallel branches become one; a kind that it has no method for
    comes to `visit_other`, which refuses it. A block's path is its name, inside parallel blocks
    "name/branch/name", as in `description.walk_blocks`; its weights are named by it.
    """

    refusal = "which is no kind of block that is known here"

    def visit_series(self, blocks: Sequence[Block], prefix: str, x: Value) -> Value:
        """The output of blocks one after the other; `prefix` stands before their names."""
        for block in blocks:
            x = self.visit_block(block, prefix + block.name, x)
        return x

    def visit_block(self, block: Block, path: str, x: Value) -> Value:
        """The output of one block, by the method for its kind."""
        match block:
            case Dense():
                return self.visit_dense(block, path, x)
            case Dropout():
                return self.visit_dropout(block, path, x)
            case Taps():
                return self.visit_taps(block, path, x)
            case Segments():
                return self.visit_segments(block, path, x)
            case Recurrent():
                return self.visit_recurrent(block, path, x)
            case Bidirectional():
                return self.visit_bidirectional(block, path, x)
            case EncoderDecoder():
                return self.visit_encoder_decoder(block, path, x)
            case Parallel():
                return self.visit_parallel(block, path, x)
        return self.visit_other(block, path, x)

    def visit_parallel(self, block: Parallel, path: str, x: Value) -> Value:
        """The outputs of all branches on the same input, joined."""
        branches = block.prefixed_branches(path)
        outputs = [self.visit_series(branch, prefix, x) for prefix, branch in branches]
        return self.join_branches(block, path, outputs)

    def join_branches(self, block: Parallel, path: str, outputs: list[Value]) -> Value:
        """One value from those of the branches: concatenated or summed, as the block says."""
        raise NotImplementedError

    def visit_other(self, block: Block, path: str, x: Value) -> Value:
        """What becomes of a block without a method of its own; InputError unless overridden."""
        raise InputError(f"Block {path!r} is a {type(block).__name__}, {self.refusal}.")

    def visit_dense(self, block: Dense, path: str, x: Value) -> Value:
        """The output of a dense block."""
        return self.visit_other(block, path, x)

    def visit_dropout(self, block: Dropout, path: str, x: Value) -> Value:
        """The output of a dropout block: outside training its input."""
        return x

    def visit_taps(self, block: Taps, path: str, x: Value) -> Value:
        """The output of a tapped delay line."""
        return self.visit_other(block, path, x)

    def visit_segments(self, block: Segments, path: str, x: Value) -> Value:
        """The segments that the block cuts its window into."""
        return self.visit_other(block, path, x)

    def visit_recurrent(self, block: Recurrent, path: str, x: Value) -> Value:
        """The output of a recurrent layer."""
        return self.visit_other(block, path, x)

    def visit_bidirectional(self, block: Bidirectional, path: str, x: Value) -> Value:
        """The output of a recurrent layer that reads the window from both ends."""
        return self.visit_other(block, path, x)

    def visit_encoder_decoder(self, block: EncoderDecoder, path: str, x: Value) -> Value:
        """The forecasts of an encoder-decoder, the network's last block."""
        return self.visit_other(block, path, x)
