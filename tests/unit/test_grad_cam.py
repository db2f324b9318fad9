"""Grad-CAM against what is known: by hand on one convolution, by place on real architectures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from transformers import (
    AutoModelForImageClassification,
    ConvNextConfig,
    ResNetConfig,
    SwinConfig,
    ViTConfig,
)

from isi_core.domain.errors import ModelError
from isi_core.measures.grad_cam import grad_cam


class _Spots(torch.nn.Module):
    """Class 0 looks for red, class 1 for blue: one convolution, mean, nothing learned."""

    def __init__(self) -> None:
        super().__init__()
        self.look = torch.nn.Conv2d(3, 2, 4, stride=4, bias=False)
        with torch.no_grad():
            self.look.weight.zero_()
            self.look.weight[0, 0], self.look.weight[1, 2] = 1.0, 1.0
        self.head = torch.nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0, -0.5], [-0.5, 1.0]]))

    def forward(self, pixel_values: Any) -> Any:
        return SimpleNamespace(logits=self.head(self.look(pixel_values).mean(dim=(2, 3))))


def _picture() -> torch.Tensor:
    """Red in the upper left quarter, blue in the lower right one."""
    picture = torch.zeros(1, 3, 16, 16)
    picture[0, 0, :8, :8] = 1.0
    picture[0, 2, 8:, 8:] = 1.0
    return picture


def test_the_map_of_one_convolution_is_what_the_equation_says() -> None:
    model = _Spots().train()
    red, blue = (grad_cam(model, _picture(), target)[0] for target in (0, 1))
    assert red.shape == (4, 4)
    # Weights are the head's divided by the places: red cells 16 · 1, blue ones 16 · −0.5, cut off.
    expected = np.zeros((4, 4))
    expected[:2, :2] = 1.0
    assert np.allclose(red, expected) and np.allclose(blue, expected[::-1, ::-1])
    assert model.training and all(p.grad is None for p in model.parameters())
    assert not model.look._forward_hooks


def test_a_picture_that_says_nothing_has_an_empty_map() -> None:
    assert not grad_cam(_Spots(), torch.zeros(1, 3, 16, 16), 0).any()


@pytest.mark.parametrize(
    ("config", "side"),
    [
        (ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"), 8),
        (ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2), 8),
        (
            ViTConfig(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                image_size=64,
                patch_size=8,
            ),
            8,
        ),
        (
            SwinConfig(embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, image_size=64, patch_size=4),
            8,
        ),
    ],
    ids=["resnet", "convnext", "vit", "swin"],
)
def test_real_architectures_give_a_map_of_places(config: Any, side: int) -> None:
    torch.manual_seed(0)
    config.num_labels = 3
    model = AutoModelForImageClassification.from_config(config)
    pictures = torch.rand(2, 3, 64, 64)
    maps = np.stack([grad_cam(model, pictures, target) for target in range(3)])
    assert maps.shape == (3, 2, side, side)
    assert maps.min() >= 0 and maps.max() == 1 and np.isfinite(maps).all()
    # Another class listens elsewhere, another picture has something else.
    assert not np.allclose(maps[0], maps[1]) and not np.allclose(maps[:, 0], maps[:, 1])
    # A batch is as good as its parts.
    alone = grad_cam(model, pictures[1:], 1)
    assert np.allclose(alone[0], maps[1, 1], atol=1e-4)


def test_a_layer_can_be_named_and_what_is_not_there_is_said() -> None:
    model = _Spots()
    assert grad_cam(model, _picture(), 0, layer="look").shape == (1, 4, 4)
    with pytest.raises(ModelError, match="no layer"):
        grad_cam(model, _picture(), 0, layer="nowhere")
    with pytest.raises(ModelError, match="2 classes"):
        grad_cam(model, _picture(), 2)
    with pytest.raises(ModelError, match="keeps places apart"):
        grad_cam(model, _picture(), 0, layer="head")


@pytest.mark.parametrize("target", [0, 2])
def test_a_convolutional_network_s_map_is_captum_s(target: int) -> None:
    """captum's own LayerGradCam of the same layer; it takes no tokens of transformers, which is why it is not used."""
    torch.manual_seed(3)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3)
    model = AutoModelForImageClassification.from_config(config).eval()
    pictures = torch.rand(2, 3, 64, 64)
    layer = "resnet.encoder.stages.1"
    theirs = (
        LayerGradCam(lambda pixels: model(pixel_values=pixels).logits, dict(model.named_modules())[layer])
        .attribute(pictures, target=target, relu_attributions=True)[:, 0]
        .detach()
        .double()
        .numpy()
    )
    assert theirs.any()
    peaks = theirs.max(axis=(1, 2), keepdims=True)
    expected = np.divide(theirs, peaks, out=np.zeros_like(theirs), where=peaks > 0)
    assert np.allclose(grad_cam(model, pictures, target, layer), expected, atol=1e-5)
