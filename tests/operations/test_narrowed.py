"""The folder of a narrowed run."""

from __future__ import annotations

from forecast.operations.repro import narrowed_name


def test_a_few_models_give_their_names_to_the_folder():
    assert narrowed_name("weather", ["lstm", "gru"]) == "weather-lstm-gru"


def test_many_models_give_a_name_that_every_file_system_takes_and_that_tells_them_apart():
    models = [f"a_model_with_a_long_name_{n}" for n in range(40)]
    name = narrowed_name("weather", models)
    assert len(name.encode()) <= 100 and name.startswith("weather-40-models-")
    assert name != narrowed_name("weather", models[::-1]) and name == narrowed_name(
        "weather", list(models)
    )
