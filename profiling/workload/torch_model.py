# SPDX-License-Identifier: Apache-2.0
"""What is trained: a transformer built on the spot, or whatever a Python file makes.

A model's `forward` takes the tensors of a batch and returns the loss.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from profiling.errors import ProfileError

__all__ = ["BUILT_IN", "make_model"]

# hidden, layers, heads, vocabulary, tokens of a sample
BUILT_IN = {
    "tiny-transformer": (128, 2, 4, 1024, 64),
    "small-transformer": (768, 12, 12, 32768, 512),
}

Batch = Callable[[int], tuple[float, list[Any]]]


def make_model(name: str) -> tuple[Any, Batch]:
    """A model and what makes its batches: samples -> (tokens of all, tensors).

    `name` is one of BUILT_IN, `FILE.py:FUNCTION` or `package.module:FUNCTION`; the function takes
    nothing and returns (model, batch), `batch` as here. Raises ProfileError where it is neither.
    """
    if name in BUILT_IN:
        return _transformer(*BUILT_IN[name])
    place, _, function = name.rpartition(":")
    if not place:
        raise ProfileError(
            f"model {name!r}: give {', '.join(BUILT_IN)}, FILE.py:FUNCTION or MODULE:FUNCTION"
        )
    made: tuple[Any, Batch] = _function(place, function)()
    return made


def _function(place: str, name: str) -> Callable[[], Any]:
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except (ImportError, OSError) as error:
        raise ProfileError(f"model {place}: cannot be imported: {error}") from error
    found: Callable[[], Any] | None = getattr(module, name, None)
    if found is None:
        raise ProfileError(f"model {place}: has no function {name}")
    return found


def _transformer(
    hidden: int, layers: int, heads: int, vocabulary: int, tokens: int
) -> tuple[Any, Batch]:
    """A language model: every position foretells the token after it."""
    import torch
    from torch import nn

    class Model(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(vocabulary, hidden)
            layer = nn.TransformerEncoderLayer(
                hidden, heads, 4 * hidden, dropout=0.0, batch_first=True, norm_first=True
            )
            self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
            self.head = nn.Linear(hidden, vocabulary, bias=False)
            mask = nn.Transformer.generate_square_subsequent_mask(tokens)
            self.register_buffer("mask", mask, persistent=False)

        def forward(self, ids: Any) -> Any:
            seen = self.layers(self.embed(ids[:, :-1]), mask=self.mask, is_causal=True)
            return nn.functional.cross_entropy(self.head(seen).transpose(1, 2), ids[:, 1:])

    def batch(samples: int) -> tuple[float, list[Any]]:
        return float(samples * tokens), [torch.randint(vocabulary, (samples, tokens + 1))]

    return Model(), batch
