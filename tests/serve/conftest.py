import pytest
from fastapi.testclient import TestClient

from serve.config import GatewayConfig
from serve.gateway import create_app
from tests.serve.fakes import LESION_PX, FakeStages


@pytest.fixture
def stages() -> FakeStages:
    return FakeStages()


@pytest.fixture
def client(stages: FakeStages) -> TestClient:
    app = create_app(GatewayConfig(), stages, lesion_px=LESION_PX)
    return TestClient(app, follow_redirects=False)
