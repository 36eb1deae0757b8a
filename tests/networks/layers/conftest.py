"""One thread and the same bits each time, before the first tensor of the process."""

from forecast.networks.layers import prepare_runtime

prepare_runtime(threads=1)
