"""What the page says of the one-step errors."""

from forecast.report import residual_diagnostics
from forecast.system import files
from tests.report.reading import HOURLY, results, table_rows


def test_residual_diagnostics_are_shown_for_the_chosen_model_and_the_baselines(page):
    rows = table_rows(page, HOURLY, "residual-diagnostics")
    assert [row[0] for row in rows] == ["lstm", "ridge", "naive", "seasonal naive"]
    assert rows[0] == ["lstm", "90", "0.0100 ± 0.040", "3", "0.400", "–", "−0.10 at lag 2"]
    assert rows[2][2:] == ["0.100 ± 0.040", "3", "< 0.001", "0.003", "0.50 at lag 1"]


def test_autocorrelations_outside_their_band_are_marked_and_counted(project):
    path = project / "data/compared/hourly/residuals.json"
    left = [{**row, "autocorrelation": [0.3, -0.1, 0.0]} for row in files.read_json(path)]
    files.write_json(path, left)
    (panel,) = residual_diagnostics.panels(results(project, HOURLY))
    assert panel.svg.count("stem out") == 1 and panel.svg.count("stem in") == 2
    assert panel.note.startswith("1 of 3 outside the band")
    assert "lag, in steps of 3 hours" in panel.svg
