import gradio as gr
from fastapi import Request

from serve.runtime.forwarded_headers import CLIENT_ADDRESS
from ui.services import Services


def test_a_visitor_of_the_page_has_the_address_that_the_trusted_proxy_sent(services: Services, monkeypatch):
    asked: list[str | None] = []
    monkeypatch.setattr(type(services.api), "for_visitor", lambda self, address: asked.append(address))
    scope = {"type": "http", CLIENT_ADDRESS: "192.0.2.7", "app": object()}

    services.api_for(gr.Request(Request(scope)))
    services.api_for(gr.Request(Request({"type": "http"})))
    services.api_for(gr.Request())
    services.api_for(None)

    assert asked == ["192.0.2.7", None, None, None]
