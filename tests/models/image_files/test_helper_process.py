import os
import signal
import threading
import time
from pathlib import Path

import pytest

from models import images
from models.image_files import helper_process
from models.image_files.errors import TooManyPixelsError, UnreadableImageError
from models.image_files.helper_process import MAX_HELPERS, HelperProcesses, run_isolated
from models.images import decode_square
from models.limits import PHOTO_FORMATS, PhotoFormat
from tests.photo_files import encoded, photo_file, split_picture

TIFF = encoded(split_picture(), "TIFF")


def process_and_answer(answer: object) -> tuple[int, object]:
    return os.getpid(), answer


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def be_killed(log: Path, times: int) -> str:
    with log.open("a") as file:
        file.write("x")
    if len(log.read_text()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "answer"


def never_end() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.05)  # as if the time were over
    while True:
        pass


def allocate(num_bytes: int) -> int:
    return len(bytearray(num_bytes))


def reject() -> None:
    raise TooManyPixelsError("too many")


def test_one_helper_serves_many_photos():
    (first, answer), (second, _) = (
        run_isolated(process_and_answer, b"x" * 3_000_000),
        run_isolated(process_and_answer, 1),
    )

    assert answer == b"x" * 3_000_000
    assert first == second != os.getpid()


def test_a_crashing_decoder_rejects_the_photo_and_leaves_this_process_alive():
    with pytest.raises(UnreadableImageError, match="its decoder failed; save the photo as JPEG"):
        run_isolated(crash)

    assert decode_square(TIFF, side_px=32).width_px == 400


def test_a_decoder_that_does_not_end_is_stopped():
    with pytest.raises(UnreadableImageError, match="takes more than 30 seconds"):
        run_isolated(never_end)


def test_a_decoder_of_too_much_memory_is_stopped():
    with pytest.raises(UnreadableImageError, match="more than 1000 MB of memory"):
        run_isolated(allocate, 1_500_000_000)
    assert run_isolated(allocate, 100) == 100


def test_an_error_of_a_photo_is_passed_on():
    with pytest.raises(TooManyPixelsError, match="too many"):
        run_isolated(reject)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_an_idle_helper_that_was_killed_is_replaced(signal_number: int):
    helpers = HelperProcesses()
    helper, _ = helpers.run(process_and_answer, 1)
    os.kill(helper, signal_number)
    os.waitid(os.P_PID, helper, os.WEXITED | os.WNOWAIT)

    assert helpers.run(process_and_answer, 2)[1] == 2
    helpers.close()


def test_a_photo_whose_helper_was_killed_is_decoded_once_more(tmp_path: Path):
    assert run_isolated(be_killed, tmp_path / "killed", 1) == "answer"
    with pytest.raises(UnreadableImageError, match="killed twice; try again later"):
        run_isolated(be_killed, tmp_path / "killed twice", 2)


def test_threads_use_a_bounded_number_of_helpers():
    helpers, used = HelperProcesses(), set[int]()

    def work() -> None:
        for _ in range(5):
            used.add(helpers.run(process_and_answer, 1)[0])

    threads = [threading.Thread(target=work) for _ in range(2 * MAX_HELPERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    helpers.close()

    assert len(used) <= MAX_HELPERS


def test_a_forked_process_starts_helpers_of_its_own():
    parent, _ = run_isolated(process_and_answer, 1)
    read, write = os.pipe()

    if (child := os.fork()) == 0:
        os.write(write, str(run_isolated(process_and_answer, 1)[0]).encode())
        helper_process._helpers.close()
        os._exit(0)
    os.waitpid(child, 0)

    assert int(os.read(read, 20)) != parent


def test_helpers_end_with_their_process():
    helpers = HelperProcesses()
    helper, _ = helpers.run(process_and_answer, 1)
    helpers.close()

    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{helper}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{helper}")


@pytest.mark.parametrize("format", PHOTO_FORMATS, ids=lambda format: format.name)
def test_all_formats_but_those_of_web_pages_are_isolated(
    format: PhotoFormat, monkeypatch: pytest.MonkeyPatch
):
    isolated = []
    monkeypatch.setattr(images, "run_isolated", lambda *call: isolated.append(call))

    decode_square(photo_file(split_picture(), format), side_px=32)

    assert bool(isolated) == (format.name not in ("JPEG", "PNG", "WebP"))
