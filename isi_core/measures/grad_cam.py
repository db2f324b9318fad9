"""Grad-CAM (Selvaraju et al., ICCV 2017): where in a picture a classifier found what speaks for a class.

The feature map's channels are weighted by the mean gradient of the class's logit (their equation 1), summed, and what
is negative is cut off (equation 2). Of a vision transformer the tokens before the last attention block take the
channels' place: behind it only the class token reaches the logits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import ModelError

if TYPE_CHECKING:
    import torch


def grad_cam(
    model: torch.nn.Module, pixel_values: torch.Tensor, target: int, layer: str | None = None
) -> NDArray[np.float64]:
    """(n, rows, columns) maps of 0 to 1, one a picture; all 0 where nothing in the picture speaks for the class.

    Parameters
    ----------
    model : a `transformers` image classifier; its parameters get no gradients.
    pixel_values : (n, channels, height, width), as its image processor makes them.
    target : index of the class.
    layer : name of the module whose output is looked at; without one the last that still has places.

    Raises
    ------
    ModelError : there is no such class or module, or no module keeps places apart.
    """
    import torch

    modules = dict(model.named_modules())
    if layer is not None and layer not in modules:
        raise ModelError(f"The classifier has no layer {layer[:80]!r}: leave the layer out to take the last that fits.")
    seen: list[tuple[bool, Any]] = []

    def keep(module: torch.nn.Module, _: Any, output: Any) -> None:
        found = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(found, torch.Tensor) or not found.requires_grad:
            return
        tokens = found.ndim == 3 and (layer is not None or isinstance(module, torch.nn.LayerNorm)) and _side(found) > 1
        if tokens or (found.ndim == 4 and found.shape[2] * found.shape[3] > 1):
            seen.append((tokens, found))

    watched = [modules[layer]] if layer is not None else list(modules.values())
    hooks = [module.register_forward_hook(keep) for module in watched]
    training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            logits = model(pixel_values=pixel_values.detach().requires_grad_(True)).logits
            if not 0 <= target < logits.shape[-1]:
                raise ModelError(f"The classifier has {logits.shape[-1]} classes, so there is no class {target}.")
            found = [output for _, output in seen]
            gradients = torch.autograd.grad(logits[:, target].sum(), found, allow_unused=True) if found else ()
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    places = [
        (tokens, _map(output, tokens), _map(gradient, tokens))
        for (tokens, output), gradient in zip(seen, gradients, strict=True)
        if gradient is not None
    ]
    # A transformer's patch embedding has places too, and so have its attention weights: its tokens say more.
    usable = [p for p in places if p[0] and bool(p[2].any())] or [p for p in places if not p[0]]
    if not usable:
        raise ModelError("Grad-CAM needs a layer that keeps places apart, and this classifier has none.")
    _, features, slopes = usable[-1]
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    maps = (weights * features).sum(dim=1).clamp(min=0).detach().double().cpu().numpy()
    peaks = maps.max(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.float64] = np.divide(maps, peaks, out=np.zeros_like(maps), where=peaks > 0)
    return scaled


def _side(tokens: Any) -> int:
    """Side of the square that the tokens make, with or without class tokens in front; 0 where they make none."""
    count = int(tokens.shape[1])
    return next((math.isqrt(n) for n in (count, count - 1, count - 2) if n > 0 and math.isqrt(n) ** 2 == n), 0)


def _map(values: Any, tokens: bool) -> Any:
    """(n, channels, rows, columns) of what a module gave."""
    if not tokens:
        return values
    side = _side(values)
    patches = values[:, values.shape[1] - side * side :]
    return patches.transpose(1, 2).reshape(values.shape[0], -1, side, side)
