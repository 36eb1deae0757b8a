import pytest
from lxml import html

from forecast.report.evidence import read_evidence
from forecast.report.page import render
from tests.report.reading import DAILY, HOURLY
from tests.support.artifacts import write_project


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project"), cost=True)


@pytest.fixture(scope="session")
def page(root):
    return html.fromstring(render([read_evidence(root, HOURLY), read_evidence(root, DAILY)]))


@pytest.fixture
def project(tmp_path):
    return write_project(tmp_path, datasets=(HOURLY,))
