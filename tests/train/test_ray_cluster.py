import io

import pytest

from train.ray_cluster import ClusterError, WithoutCleaner, ray_cluster


def test_only_lines_of_rays_placement_group_cleaner_are_dropped():
    terminal = io.StringIO()
    stream = WithoutCleaner(terminal)

    for line in (
        "(RayTrainWorker pid=7) epoch 1 of 6",
        "\x1b[36m(PlacementGroupCleaner pid=8)\x1b[0m Traceback (most recent call last):",
        "(PlacementGroupCleaner pid=8, ip=192.0.2.3) ConnectionError",
        "",
        "stopped",
    ):
        print(line, file=stream)  # pyright: ignore[reportArgumentType]

    assert terminal.getvalue() == "(RayTrainWorker pid=7) epoch 1 of 6\n\nstopped\n"
    assert not stream.isatty()


def test_an_address_without_a_cluster_is_rejected_at_once():
    with (
        pytest.raises(ClusterError, match=r"no Ray cluster at 127\.0\.0\.1:1 .*correct or omit --address"),
        ray_cluster("127.0.0.1:1"),
    ):
        pass
