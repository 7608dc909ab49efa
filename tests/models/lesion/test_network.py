import pytest
import torch

from models.lesion.network import LesionEnsemble, LesionNet, grad_cam


@pytest.fixture(scope="module")
def net() -> LesionNet:
    torch.manual_seed(0)
    return LesionNet(num_diagnoses=7, input_px=64).eval()


def test_each_head_is_2048_512_relu_dropout_n(net: LesionNet):
    shapes = [
        [getattr(layer, "weight", torch.empty(0)).shape[-1:] for layer in head]
        for head in (net.risk_head, net.diagnosis_head)
    ]
    outputs = [head[-1].out_features for head in (net.risk_head, net.diagnosis_head)]

    assert [type(layer).__name__ for layer in net.risk_head] == ["Linear", "ReLU", "Dropout", "Linear"]
    assert shapes == [[(2048,), (0,), (0,), (512,)]] * 2
    assert outputs == [2, 7]


@pytest.mark.parametrize(("input_px", "cells"), [(64, 4), (96, 6), (224, 7)])
def test_small_inputs_keep_a_feature_map_of_several_cells(input_px: int, cells: int):
    net = LesionNet(num_diagnoses=7, input_px=input_px).eval()

    with torch.inference_mode():
        features = net.features(torch.zeros(1, 3, input_px, input_px))

    assert features.shape == (1, 2048, cells, cells)


def test_forward_returns_the_logits_of_both_heads(net: LesionNet):
    with torch.inference_mode():
        logits = net(torch.randn(2, 3, 64, 64))

    assert logits.risk_BR.shape == (2, 2)
    assert logits.diagnosis_BK.shape == (2, 7)


def test_stored_weights_keep_the_backbone_names_of_format_version_1(net: LesionNet):
    stored = net.state_dict()
    ensemble = LesionEnsemble(num_members=1, num_diagnoses=7, input_px=64)
    ensemble.load_state_dict({f"members.0.{name}": tensor for name, tensor in stored.items()})

    assert "trunk.conv1.weight" in stored and not any(name.startswith("backbone.") for name in stored)
    assert torch.equal(ensemble.nets[0].backbone.conv1.weight, net.backbone.conv1.weight)
    assert "members.0.trunk.layer4.2.bn3.weight" in ensemble.state_dict()


def test_closed_form_grad_cam_equals_autograd(net: LesionNet):
    features = torch.randn(2048, 4, 4, requires_grad=True)
    logit = net.diagnosis_head(features.mean(dim=(1, 2)))[3]
    (slope,) = torch.autograd.grad(logit, features)
    expected = (slope.sum(dim=(1, 2))[:, None, None] * features).sum(0).clamp_min(0)

    grad_cam_map = grad_cam(net.diagnosis_head, features.detach(), 3)

    assert torch.allclose(grad_cam_map, (expected / expected.max()).detach(), atol=1e-5)


def test_a_grad_cam_map_without_evidence_is_zero(net: LesionNet):
    grad_cam_map = grad_cam(net.risk_head, torch.zeros(2048, 4, 4), 0)

    assert grad_cam_map.tolist() == torch.zeros(4, 4).tolist()


@pytest.fixture(scope="module")
def ensemble() -> LesionEnsemble:
    torch.manual_seed(1)
    return LesionEnsemble(num_members=2, num_diagnoses=7, input_px=64).eval()


def test_an_ensemble_returns_the_mean_logits_of_its_members(ensemble: LesionEnsemble):
    image = torch.randn(3, 3, 64, 64)

    with torch.inference_mode():
        together = ensemble(image)
        members = [member(image) for member in ensemble.nets]

    assert torch.allclose(together.risk_BR, (members[0].risk_BR + members[1].risk_BR) / 2, atol=1e-5)
    assert torch.allclose(
        together.diagnosis_BK, (members[0].diagnosis_BK + members[1].diagnosis_BK) / 2, atol=1e-5
    )
    assert not torch.allclose(members[0].risk_BR, members[1].risk_BR, atol=1e-3)


def test_the_grad_cam_map_of_an_ensemble_is_the_mean_of_its_members_maps(ensemble: LesionEnsemble):
    with torch.inference_mode():
        features = ensemble.features(torch.randn(1, 3, 64, 64))[0]
        first, second = (
            member.risk_grad_cam(part)[1]
            for member, part in zip(ensemble.nets, features.chunk(2), strict=True)
        )

    grad_cam_map = ensemble.risk_grad_cam(features)[1]

    assert features.shape == (2 * 2048, 4, 4)
    assert grad_cam_map.max() == 1
    assert torch.allclose(grad_cam_map, (first + second) / (first + second).max(), atol=1e-6)


def test_an_empty_ensemble_is_rejected():
    with pytest.raises(ValueError, match="num_members is 0"):
        LesionEnsemble(num_members=0, num_diagnoses=7, input_px=64)


def test_the_scope_head_is_linear_on_pooled_features():
    torch.manual_seed(2)
    net = LesionNet(num_diagnoses=7, input_px=64, scope_head=True).eval()
    features = torch.randn(3, 2048, 4, 4)

    with torch.inference_mode():
        scope_B = net.classify(features).scope_B
        assert net.scope_head is not None
        expected = features.mean((2, 3)) @ net.scope_head.weight[0] + net.scope_head.bias[0]

    assert scope_B is not None and torch.allclose(scope_B, expected, atol=1e-5)
    assert {"scope_head.weight", "scope_head.bias"} <= net.state_dict().keys()


def test_a_network_without_a_scope_head_has_no_scope(net: LesionNet, ensemble: LesionEnsemble):
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, 64, 64)).scope_B is None
        assert ensemble(torch.zeros(1, 3, 64, 64)).scope_B is None
    assert not any("scope" in name for name in net.state_dict())


def test_an_ensemble_averages_the_scope_logits_of_its_members():
    torch.manual_seed(4)
    together = LesionEnsemble(num_members=2, num_diagnoses=7, input_px=64, scope_head=True).eval()
    image = torch.randn(3, 3, 64, 64)

    with torch.inference_mode():
        scopes = [member(image).scope_B for member in together.nets]
        scope_B = together(image).scope_B

    assert scope_B is not None and torch.allclose(scope_B, torch.stack(scopes).mean(0), atol=1e-5)
    assert not torch.allclose(scopes[0], scopes[1], atol=1e-3)
