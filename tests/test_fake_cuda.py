"""The stand-in for CUDA rejects the same operations as CUDA, and records copies and waits."""

import pytest
import torch

from tests.fake_cuda import FakeCuda


def test_a_tensor_claims_its_device_and_computes_as_on_the_cpu():
    values = torch.linspace(0, 1, 7)

    with FakeCuda() as cuda:
        on_device = values.to("cuda:0")
        output = (on_device.exp() / 3).cpu()

    assert torch.equal(output, values.exp() / 3)
    assert [event.kind for event in cuda.events] == ["in", "out"]


def test_gradients_are_those_of_the_cpu():
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    points = torch.randn(5, 3)
    net(points).square().sum().backward()
    expected = net.weight.grad

    with FakeCuda():
        net.to("cuda").zero_grad()
        net(points.to("cuda")).square().sum().backward()
        assert net.weight.grad is not None and net.weight.grad.is_cuda
        found = net.weight.grad.cpu()

    assert expected is not None and torch.equal(found, expected)


def test_operations_on_two_devices_are_rejected():
    with FakeCuda(num_devices=2):
        with pytest.raises(RuntimeError, match="cuda and cpu"):
            torch.add(torch.ones(2, device="cuda"), torch.ones(2))
        with pytest.raises(RuntimeError, match="same device"):
            torch.add(torch.ones(2, device="cuda:0"), torch.ones(2, device="cuda:1"))


def test_reading_a_number_or_the_length_of_a_mask_waits_for_the_device():
    with FakeCuda() as cuda:
        values = torch.arange(4.0, device="cuda")
        float(values[0])
        values[values > 1]
        values.nonzero()

    assert cuda.count("wait") == 3
    assert all(event.where.startswith("tests/test_fake_cuda.py:") for event in cuda.events)


def test_only_pinned_memory_is_copied_without_waiting():
    with FakeCuda() as cuda:
        torch.ones(2).to("cuda", non_blocking=True)
        torch.ones(2).pin_memory().to("cuda", non_blocking=True)
        torch.empty(2, pin_memory=True).to("cuda", non_blocking=True)

    assert [event.blocking for event in cuda.events] == [True, False, False]


def test_a_graph_replays_on_new_input_and_rejects_host_tensors_in_capture():
    with FakeCuda():
        image, graph = torch.ones(2, device="cuda"), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = image * 2 + 1
        image.copy_(torch.tensor([5.0, 6.0]))
        graph.replay()
        assert output.tolist() == [11, 13]

        with pytest.raises(RuntimeError, match="during CUDA graph capture"), torch.cuda.graph(graph):
            torch.tensor([1.0], device="cuda")


def test_a_graph_captured_on_the_current_device_misses_work_on_another_one():
    with FakeCuda(num_devices=2):
        image, graph = torch.ones(2, device="cuda:1"), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = image * 2
        image.fill_(7)
        graph.replay()

        assert output.tolist() == [2, 2]


def test_graphs_of_one_pool_overwrite_each_others_results():
    with FakeCuda():
        pool = torch.cuda.graph_pool_handle()
        image, graphs = torch.ones(2, device="cuda"), [torch.cuda.CUDAGraph() for _ in range(2)]
        outputs = []
        for graph in graphs:
            with torch.cuda.graph(graph, pool=pool):
                outputs.append(image * 2)
        graphs[1].replay()

        assert outputs[1].tolist() == [2, 2]
        assert outputs[0].isnan().all().item()
