import shutil

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


@pytest.fixture(scope="session")
def hourly(tmp_path_factory):
    """Read only: `project` is a copy."""
    return write_project(tmp_path_factory.mktemp("hourly"), datasets=(HOURLY,))


@pytest.fixture
def project(hourly, tmp_path):
    return shutil.copytree(hourly, tmp_path, dirs_exist_ok=True)
