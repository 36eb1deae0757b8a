"""Principal axes of the train inputs: the weights of an unsupervised projection (Pearson 1901; Hotelling 1933)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from forecast.networks.description import Block, Dense, Network, Parallel


def with_principal_axes(
    network: Network, weights: Mapping[str, np.ndarray], pasts: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """`weights` with those of every block `principal_of` some channels set from `pasts`, the train rows (T, C) each.

    z = (x - mean) A: the columns of A (C', units) are the directions of greatest variance, greatest first, each of
    length 1 with its largest entry above zero; where the rows span fewer directions than `units` the rest are zero.
    """
    result = dict(weights)
    for path, block in _projections(network.blocks):
        rows = np.concatenate([past[:, list(block.principal_of or ())] for past in pasts]).astype(np.float64)
        mean, axes = _axes(rows, block.units)
        result[f"{path}/kernel"] = axes.astype(weights[f"{path}/kernel"].dtype)
        result[f"{path}/bias"] = (-mean @ axes).astype(weights[f"{path}/bias"].dtype)
    return result


def _axes(rows: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
    mean = rows.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(rows - mean, rowvar=False, ddof=0).reshape(rows.shape[1], -1))
    known = variances[::-1] > 1e-9 * max(float(variances[-1]), 1e-300)
    axes = directions[:, ::-1] * known
    signs = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0))
    axes = axes * np.where(signs == 0, 1.0, signs)
    spare = np.zeros((rows.shape[1], max(0, units - axes.shape[1])))
    return mean, np.concatenate([axes, spare], axis=1)[:, :units]


def _projections(blocks: Sequence[Block], prefix: str = "") -> Iterator[tuple[str, Dense]]:
    """Every block with principal axes, with the path that its weights are named by."""
    for block in blocks:
        if isinstance(block, Dense) and block.principal_of is not None:
            yield prefix + block.name, block
        if isinstance(block, Parallel):
            for number, branch in enumerate(block.branches):
                yield from _projections(branch, f"{prefix}{block.name}/{number}/")
