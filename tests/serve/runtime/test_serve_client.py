import inspect

from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from serve.runtime.serve_client import application_details, deploy_config


def test_serves_client_has_the_methods_that_we_call():
    """Tried with Ray 2.60; when this fails, look for a documented way first."""
    from ray.serve._private.client import ServeControllerClient

    assert "raise_if_no_controller_running" in inspect.signature(_get_global_client).parameters
    assert list(inspect.signature(ServeControllerClient.deploy_apps).parameters)[:2] == ["self", "config"]
    assert list(inspect.signature(ServeControllerClient.get_serve_details).parameters) == ["self"]


def test_a_config_is_passed_to_serves_client(monkeypatch):
    config = ServeDeploySchema.model_validate({"applications": []})
    deployed = []

    class Client:
        def deploy_apps(self, config):
            deployed.append(config)

        def get_serve_details(self):
            return {"applications": {"api": {"status": "RUNNING"}}}

    monkeypatch.setattr("ray.serve.context._get_global_client", lambda **_: Client())
    deploy_config(config)

    assert deployed == [config]
    assert application_details() == {"api": {"status": "RUNNING"}}
