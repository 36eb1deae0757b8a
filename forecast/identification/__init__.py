"""System identification for users of MATLAB's time-series nets: see docs/coming-from-matlab.md.

A net that you describe is trained by `train`, a polynomial by `frols`, and a model that the data
choose is found by `identify`; all three give a `Model`:

    net = narxnet(input_delays=(1, 2), feedback_delays=(1, 2), hidden=10)
    model = train(net, Experiment(u, y))
    model = identify(Experiment(u, y))
    one_step = model.predict(u, y)
    free_run = model.simulate(u, y[: model.start])

No TensorFlow needed. The modules, from below: `experiment` (the data), `polynomial`,
`first_states`, `narx` (what is computed, row after row), `problems` (least squares in open and
closed loop), `term_search`, `delays`, `states`; `loops`, `nets`, `model` (a model in the units of
the data), `data`, `rows`, `chaos`, `training` (what `train` does), `frols`; `search_settings`,
`member`, `averaging`, `search_training`, `search` (what `identify` searches), `automatic`
(`identify`), `contest` (`forecast identify`); and `design`, `performance`, `stability`, `export`.
"""

from forecast.identification.automatic import identify
from forecast.identification.data import (
    divideblock,
    divideind,
    divideint,
    dividerand,
    dividetrain,
    read_record,
    sunspots_like,
    tank,
)
from forecast.identification.delays import autocorrelation, choose_delays, cross_correlation
from forecast.identification.design import (
    frequency_response,
    multisine,
    prbs,
    random_steps,
)
from forecast.identification.experiment import Experiment
from forecast.identification.export import export
from forecast.identification.frols import formula, frols
from forecast.identification.loops import State
from forecast.identification.model import LoopRun, Model, TrainingRecord
from forecast.identification.nets import (
    Net,
    distdelaynet,
    elmannet,
    grunet,
    layrecnet,
    lstmnet,
    narnet,
    narxnet,
    timedelaynet,
)
from forecast.identification.performance import (
    perform,
    ploterrcorr,
    ploterrhist,
    plotinerrcorr,
    plotperform,
    plotregression,
    plotresponse,
    plottrainstate,
)
from forecast.identification.search_settings import Candidate, SearchSettings
from forecast.identification.stability import Stability, stability
from forecast.identification.training import train, train_parallel, trainbr, trainlm
from forecast.training.levenberg_marquardt import Watch

__all__ = [
    "Candidate",
    "Experiment",
    "LoopRun",
    "Model",
    "Net",
    "SearchSettings",
    "Stability",
    "State",
    "TrainingRecord",
    "Watch",
    "autocorrelation",
    "choose_delays",
    "cross_correlation",
    "distdelaynet",
    "divideblock",
    "divideind",
    "divideint",
    "dividerand",
    "dividetrain",
    "elmannet",
    "export",
    "formula",
    "frequency_response",
    "frols",
    "grunet",
    "identify",
    "layrecnet",
    "lstmnet",
    "multisine",
    "narnet",
    "narxnet",
    "perform",
    "ploterrcorr",
    "ploterrhist",
    "plotinerrcorr",
    "plotperform",
    "plotregression",
    "plotresponse",
    "plottrainstate",
    "prbs",
    "random_steps",
    "read_record",
    "stability",
    "sunspots_like",
    "tank",
    "timedelaynet",
    "train",
    "train_parallel",
    "trainbr",
    "trainlm",
]
