import pytest

from ui.cards import error_card, exception_card
from ui.client import ApiError


def test_an_error_says_what_to_do_and_is_escaped():
    html = error_card("no_face", "No <b>face</b>. Send others.")

    assert 'role="alert"' in html and "No face was found" in html
    assert "No &lt;b&gt;face&lt;/b&gt;. Send others." in html


def test_an_unexpected_exception_shows_no_traceback_and_logs_no_names(caplog: pytest.LogCaptureFixture):
    name = "-".join(["anna", "smith.jpg"])
    try:
        raise OSError(2, "No such file", name)
    except OSError as error:
        html = exception_card(error)

    assert "Something went wrong" in html and "Traceback" not in html
    assert "FileNotFoundError" in caplog.text and "anna-smith" not in caplog.text


def test_an_api_error_shows_its_message():
    html = exception_card(ApiError("overloaded", "The server is busy. Try again in 2 s."))

    assert 'data-code="overloaded"' in html and "Try again in 2 s." in html
