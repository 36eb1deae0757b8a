"""An exported network runs where there is nothing but Python and NumPy, and forecasts the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forecast.networks.description import Dense, Network, Parallel, Recurrent, Shapes, Taps
from forecast.networks.inference import final_states, forecast_last, forward, step
from forecast.networks.inference.export import LinearSkip, Units, export
from forecast.system.errors import InputError
from tests.networks.inference.nets import NETWORKS, SEGMENTED, STREAMED, inputs_of, weights_of

ONE_STEP = Shapes(
    channels=3, future_channels=2, horizon=1, outputs=2, lookback=9, target_channels=(2, 0)
)
NARX = Network(
    (
        Parallel(
            "delays",
            ((Taps("y", (0, 1, 3), (2, 0)),), (Taps("x", (1, 2), (1, 3, 4)), Dense("squeeze", 2))),
        ),
        Recurrent("memory", "jordan", 3, {"targets": [0, 1]}),
        Dense("hidden", 5),
    ),
    ONE_STEP,
    future_units=2,
)

ISOLATED = """
import sys
site, folder, name = sys.argv[1:]
sys.path[:] = [path for path in sys.path if "site-packages" not in path] + [site, folder]
import importlib, numpy as np
numpys_own = {key.split(".")[0] for key in sys.modules}  # NumPy 1 brings runtimes of Cython
module = importlib.import_module(name)
given = np.load(folder + "/given.npz")
results = {"open": module.series_parallel(given["past"], given["future"])}
if module.HORIZON == 1:
    results["closed"] = module.parallel(given["past"], 4, given["further"])
    results["simulated"] = module.parallel(given["past"], 4, given["further"], given["ahead"])
np.savez(folder + "/results.npz", **results)
foreign = {key.split(".")[0] for key in sys.modules} - set(sys.stdlib_module_names)
print(sorted(foreign - numpys_own - {name}))
"""


def run_isolated(folder: Path, name: str = "net", **given: np.ndarray) -> dict[str, np.ndarray]:
    """What the exported file computes in a process whose path holds the standard library, NumPy and
    the file.
    """
    site = folder / "site"
    site.mkdir()
    for package in Path(np.__file__).parent.parent.glob("numpy*"):
        (site / package.name).symlink_to(package)
    np.savez(folder / "given.npz", **given)
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-I",
        "-S",
        "-W",
        "error",
        "-c",
        ISOLATED,
        str(site),
        str(folder),
        name,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    return dict(np.load(folder / "results.npz"))


def loaded(path: Path) -> dict:
    """The exported file's names, run in this process."""
    names = {"__name__": "exported", "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return names


@pytest.mark.parametrize("name", STREAMED)
def test_the_exported_function_forecasts_the_same(tmp_path, name):
    network, (past, future) = STREAMED[name], inputs_of()
    w = weights_of(network)
    export(network, w, tmp_path / "net.py", description=name)
    names = loaded(tmp_path / "net.py")
    expected = forward(network, w, past, future)
    np.testing.assert_allclose(names["series_parallel"](past, future), expected, atol=1e-12)
    np.testing.assert_allclose(names["forecast"](past, future), expected[:, -1], atol=1e-12)


@pytest.mark.parametrize("name", SEGMENTED)
def test_exported_segments_forecast_from_every_row_as_from_the_window_up_to_it(tmp_path, name):
    network, (past, future) = SEGMENTED[name], inputs_of()
    w = weights_of(network)
    export(network, w, tmp_path / "net.py", description=name)
    y_hat = loaded(tmp_path / "net.py")["series_parallel"](past, future)
    for t in range(past.shape[1]):
        expected = forecast_last(
            network, w, past[:, : t + 1], future[:, : t + 1 + network.shapes.horizon]
        )
        np.testing.assert_allclose(y_hat[:, t], expected, atol=1e-12)


def test_it_runs_with_nothing_but_numpy_in_open_and_closed_loop(tmp_path):
    w, rng = weights_of(NARX), np.random.default_rng(0)
    past, further = rng.normal(size=(3, 6, 3)), rng.normal(size=(3, 10, 2))
    ahead = rng.normal(size=(3, 3, 3))
    export(NARX, w, tmp_path / "net.py", description="A NARX network.")
    outputs = run_isolated(tmp_path, past=past, future=further[:, :7], further=further, ahead=ahead)
    np.testing.assert_allclose(outputs["open"], forward(NARX, w, past, further[:, :7]), atol=1e-12)
    np.testing.assert_allclose(outputs["closed"], closed_loop(w, past, further, None), atol=1e-12)
    np.testing.assert_allclose(
        outputs["simulated"], closed_loop(w, past, further, ahead), atol=1e-12
    )
    # The inputs come in through delays of 1 and 2: known ones change the forecasts from the third
    # on.
    assert (outputs["closed"] != outputs["simulated"]).all(axis=(0, 2)).tolist() == [
        False,
        False,
        True,
        True,
    ]


def closed_loop(w, past, further, ahead):
    """Four steps: targets are channels 2 and 0; channel 1 keeps its last value, or is `ahead`."""
    output = forward(NARX, w, past, further[:, :7])[:, -1, 0, :, 0]
    state, outputs = final_states(NARX, w, past, further[:, :7]), [output]
    for k in range(3):
        other = past[:, -1, 1] if ahead is None else ahead[:, k, 1]
        row = np.stack([output[:, 1], other, output[:, 0]], axis=1)
        output, state = step(NARX, w, state, row, further[:, 7 + k : 8 + k])
        output = output[:, 0, :, 0]
        outputs.append(output)
    return np.stack(outputs, axis=1)


def test_units_take_and_give_the_units_of_the_data(tmp_path):
    w, rng = weights_of(NARX), np.random.default_rng(0)
    past, further = rng.normal(size=(3, 6, 3)), rng.normal(size=(3, 10, 2))
    centre, scale = np.array([10.0, -5.0, 2.0]), np.array([3.0, 0.5, 7.0])
    export(
        NARX, w, tmp_path / "net.py", description="x", units=Units(centre.tolist(), scale.tolist())
    )
    names = loaded(tmp_path / "net.py")
    targets = [2, 0]
    expected = closed_loop(w, past, further, None) * scale[targets] + centre[targets]
    np.testing.assert_allclose(
        names["parallel"](past * scale + centre, 4, further), expected, atol=1e-11
    )


def test_a_linear_part_is_added_to_the_forecast(tmp_path):
    network, (past, future) = STREAMED["stacked"], inputs_of()
    w, rng = weights_of(network), np.random.default_rng(3)
    linear = LinearSkip(
        rng.normal(size=(2 * 3, 16)), rng.normal(size=16), rng.normal(size=(4 * 2, 16))
    )
    export(network, w, tmp_path / "net.py", description="x", linear=linear)
    window = np.concatenate([past[:, -2], past[:, -1]], axis=1)
    added = window @ linear.kernel + future[:, -4:].reshape(3, -1) @ linear.future + linear.bias
    expected = forward(network, w, past, future)[:, -1] + added.reshape(3, 4, 2, 2)
    np.testing.assert_allclose(
        loaded(tmp_path / "net.py")["forecast"](past, future), expected, atol=1e-12
    )


def test_a_network_that_forecasts_many_steps_has_no_closed_loop(tmp_path):
    network, (past, future) = STREAMED["dense"], inputs_of()
    export(network, weights_of(network), tmp_path / "net.py", description="x")
    with pytest.raises(ValueError, match="forecasts 4 steps at once: no closed loop"):
        loaded(tmp_path / "net.py")["parallel"](past, 3, future)


def test_the_exported_file_names_wrong_shapes(tmp_path):
    network, (past, future) = STREAMED["dense"], inputs_of()
    export(network, weights_of(network), tmp_path / "net.py", description="x")
    names = loaded(tmp_path / "net.py")
    with pytest.raises(
        ValueError, match=r"past has shape \(3, 9, 2\); wanted \(windows, rows, 3\)"
    ):
        names["forecast"](past[..., :2], future)
    with pytest.raises(ValueError, match=r"future has shape \(3, 12, 2\); wanted \(3, 13, 2\)"):
        names["forecast"](past, future[:, 1:])


def test_equal_networks_give_equal_files_with_their_description_on_top(tmp_path):
    network = STREAMED["parallel"]
    for name in ("a.py", "b.py"):
        export(
            network,
            weights_of(network, "float32"),
            tmp_path / name,
            description="Dublin, 24 hours ahead.",
        )
    text = (tmp_path / "a.py").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.py").read_text(encoding="utf-8")
    assert text.startswith('"""Dublin, 24 hours ahead.\n')
    assert "Gated recurrent unit" in text  # the cell's equation and paper travel along
    assert "Array" not in text  # no annotation names what the file does not have


def test_what_cannot_be_exported_is_refused(tmp_path):
    network = NETWORKS["bidirectional"]
    refusal = "'b' is a Bidirectional, which cannot be exported; fit another network, such as 'gru'"
    with pytest.raises(InputError, match=refusal):
        export(network, weights_of(network), tmp_path / "net.py", description="x")
    assert not list(tmp_path.iterdir())
