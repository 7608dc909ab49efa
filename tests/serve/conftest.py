import pytest
from fastapi.testclient import TestClient

from tests.serve.fakes import FakeModels, fake_app


@pytest.fixture
def models() -> FakeModels:
    return FakeModels()


@pytest.fixture
def client(models: FakeModels) -> TestClient:
    return TestClient(fake_app(models), follow_redirects=False)
