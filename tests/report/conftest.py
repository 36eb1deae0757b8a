import pytest
from lxml import html

from tests.report.reading import DAILY, HOURLY, rendered
from tests.support.artifacts import write_project


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project"), cost=True)


@pytest.fixture(scope="session")
def page(root):
    return html.fromstring(rendered(root, HOURLY, DAILY))


@pytest.fixture
def project(tmp_path):
    return write_project(tmp_path, datasets=(HOURLY,))
