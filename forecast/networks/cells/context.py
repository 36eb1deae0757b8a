"""Recurrent cells whose context is more than the last hidden state: the output, older states, or
the states of higher levels.

The docstring of each class has its equation, states and weights. A new cell is a class here with
its name in `CELLS`, and a file in `forecast.models.families`. `skip` of `TemporalSkip` is a number
of steps, not the skip that a network is added to.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from forecast.networks.cells.base import (
    ActivatedCell,
    Array,
    Arrays,
    Namespace,
    Weight,
    activate,
    recurrent_layer,
    require,
)


@dataclass(frozen=True)
class Jordan(ActivatedCell):
    """Jordan's network: the context is the fed-back output, with a memory of its own (Jordan 1986).

        mu_t = alpha mu_{t-1} + y_{t-1}
        h_t  = f(x_t V + mu_t W + b)
        y_t  = g(h_t U + d)                             the read-out, outside the cell

    Here the row of time s holds y_s among its columns (`targets`, in output order) and forecasts
    y_{s+1}. So it is step t = s + 1 of the equations, with x_t = u_s, the row's other columns:

        equations                           here
        mu_t = alpha mu_{t-1} + y_{t-1}     mu = alpha mu + y_s
        h_t  = f(x_t V + mu_t W + b)        h  = f(u_s V + mu W + b)
        y_t  = g(h_t U + d)                 the forecast of y_{s+1}

    y_s reaches h through mu alone. The feedback weight is fixed at 1 and not learnt; y is in the
    scaled units of the input. Series-parallel and parallel use differ in what the caller writes in
    the target columns: the measured y, or the network's own one-step output. State mu `(B, m)`.
    Weights for m targets: kernel V (I - m, u), absent when the row holds targets alone;
    recurrent_kernel W (m, u); bias (u,).
    """

    targets: tuple[int, ...] = (0,)
    alpha: float = 0.5

    def states(self) -> dict[str, int]:
        """The size of every state by name."""
        return {"mu": len(self.targets)}

    def weight_specs(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation for an input of `inputs` columns."""
        n_others = inputs - len(self.targets)
        kernel = {"kernel": Weight((n_others, self.units), "glorot_uniform")} if n_others else {}
        return kernel | {
            "recurrent_kernel": Weight((len(self.targets), self.units), "glorot_uniform"),
            "bias": Weight((self.units,), "zeros"),
        }

    def decaying_sum(self) -> tuple[tuple[int, ...], float]:
        """The target columns, and the decay of the context."""
        return self.targets, self.alpha

    def project(self, xp: Namespace, w: Arrays, x: Array) -> Array:
        """(..., m + u): the targets y of the row, then the product of its other columns with V,
        where there are any. The bias is added in `advance`.
        """
        y = xp.take(x, self.targets)
        if "kernel" not in w:
            return y
        others = [column for column in range(x.shape[-1]) if column not in self.targets]
        return xp.concat([y, xp.matmul(xp.take(x, others), w["kernel"])])

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: output `(B, units)` and new states. projected `(B, m + units)`: the m
        targets, then what `project` made of the other inputs.
        """
        count = len(self.targets)
        mu = self.alpha * states["mu"] + projected[..., :count]
        z = xp.matmul(mu, w["recurrent_kernel"]) + w["bias"]
        if "kernel" in w:
            z = z + projected[..., count:]
        return activate(xp, self.activation, z), {"mu": mu}


@dataclass(frozen=True)
class MultiDelay(ActivatedCell):
    """A layer-recurrent net whose feedback comes through several delays (MATLAB's `layrecnet(1:2,
    ...)`).

        h_t = f(x_t V + sum_d h_{t-d} W_d + b)          d in `delays`

    States h1 (the newest), h2, ... up to the largest delay. Weights: kernel V (I, u), bias (u,),
    and recurrent_kernel (n u, u): the W_d of the n delays one below the other, in the order of
    `delays`.
    """

    delays: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        """`InputError` for invalid options."""
        rising = all(a < b for a, b in pairwise(self.delays)) and min(self.delays, default=0) >= 1
        require(self, "delays", rising, "rising whole numbers from 1, e.g. [1, 2]")

    def states(self) -> dict[str, int]:
        """The size of every state by name."""
        return {f"h{d}": self.units for d in range(1, self.delays[-1] + 1)}

    def weight_specs(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation for an input of `inputs` columns."""
        return recurrent_layer(inputs, len(self.delays) * self.units, self.units)

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: output `(B, units)` and new states."""
        delayed = xp.concat([states[f"h{d}"] for d in self.delays])
        h = activate(xp, self.activation, projected + xp.matmul(delayed, w["recurrent_kernel"]))
        older = {f"h{d}": states[f"h{d - 1}"] for d in range(2, self.delays[-1] + 1)}
        return h, {"h1": h, **older}


@dataclass(frozen=True)
class TemporalSkip(ActivatedCell):
    """A simple recurrent net with a skip connection through time (Lin, Horne, Tino & Giles 1996).

        h_t = f(x_t V + h_{t-1} W + h_{t-k} S + b)

    From k steps back the gradient passes one matrix instead of k: a remedy against vanishing
    gradients. It has nothing to do with the skip of the forecast (last value or ridge). States h1
    (the newest), h2, ... hk; `skip` is k. Weights: kernel V (I, u), recurrent_kernel W (u, u),
    skip_kernel S (u, u), bias (u,).
    """

    skip: int = 12

    def states(self) -> dict[str, int]:
        """The size of every state by name."""
        return {f"h{d}": self.units for d in range(1, self.skip + 1)}

    def weight_specs(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation for an input of `inputs` columns."""
        return super().weight_specs(inputs) | {
            "skip_kernel": Weight((self.units, self.units), "orthogonal")
        }

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: output `(B, units)` and new states."""
        near = xp.matmul(states["h1"], w["recurrent_kernel"])
        far = xp.matmul(states[f"h{self.skip}"], w["skip_kernel"])
        h = activate(xp, self.activation, projected + near + far)
        older = {f"h{d}": states[f"h{d - 1}"] for d in range(2, self.skip + 1)}
        return h, {"h1": h, **older}


@dataclass(frozen=True)
class MultiLevel(ActivatedCell):
    """Stacked levels with feedback: a higher level's delayed output enters the lower
    ones (the ungated form of Chung, Gulcehre, Cho & Bengio 2015).

        h^0_t = x_t
        h^l_t = f(h^{l-1}_t V_l + sum_{m >= l} h^m_{t-1} W_{l,m} + b_l)         l = 1 ... L

    States h1 (the lowest level) ... hL (the output), `units` each; `levels` is L. Weights of level
    1: kernel (I, u), recurrent_kernel (L u, u), bias (u,); of a level l > 1: kernel_l (u, u),
    recurrent_kernel_l ((L - l + 1) u, u), bias_l (u,). The W_{l,m} lie one below the other, m = l
    first.
    """

    levels: int = 2

    def states(self) -> dict[str, int]:
        """The size of every state by name."""
        return {f"h{level}": self.units for level in range(1, self.levels + 1)}

    def weight_specs(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation for an input of `inputs` columns."""
        weights: dict[str, Weight] = {}
        for level in range(1, self.levels + 1):
            n_from_below = inputs if level == 1 else self.units
            n_fed_back = (self.levels - level + 1) * self.units
            layer = recurrent_layer(n_from_below, n_fed_back, self.units)
            weights |= {_weight_name(name, level): weight for name, weight in layer.items()}
        return weights

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: output `(B, units)` and new states."""
        new: dict[str, Array] = {}
        from_below = projected  # of level 1
        for level in range(1, self.levels + 1):
            if level > 1:
                from_below = (
                    xp.matmul(new[f"h{level - 1}"], w[_weight_name("kernel", level)])
                    + w[_weight_name("bias", level)]
                )
            fed_back = xp.concat([states[f"h{m}"] for m in range(level, self.levels + 1)])
            z = from_below + xp.matmul(fed_back, w[_weight_name("recurrent_kernel", level)])
            new[f"h{level}"] = activate(xp, self.activation, z)
        return new[f"h{self.levels}"], new


def _weight_name(name: str, level: int) -> str:
    return name if level == 1 else f"{name}_{level}"


CELLS = {
    "jordan": Jordan,
    "multi_delay": MultiDelay,
    "multi_level": MultiLevel,
    "temporal_skip": TemporalSkip,
}
