"""The batched mathematics, against the same done tensor by tensor."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tracker.core.capture import torch_statistics
from tracker.core.capture.torch_statistics import Tape, measure, samples, squared_norms

CPU = torch.device("cpu")
SHAPES = st.lists(st.integers(1, 9), max_size=3).map(tuple)
SPECIAL = st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e-10, 1e30, -5.0])


@st.composite
def tensors(draw: Any) -> list[Tensor]:
    """Draw a few tensors with some odd values in them."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    found = []
    for shape in draw(st.lists(SHAPES, min_size=1, max_size=6)):
        tensor = torch.randn(shape, generator=generator)
        for value in draw(st.lists(SPECIAL, max_size=4)):
            tensor.view(-1)[draw(st.integers(0, tensor.numel() - 1))] = value
        found.append(tensor.t() if tensor.ndim == 2 and draw(st.booleans()) else tensor)
    return found


@given(tensors(), st.booleans())
def test_statistics_are_those_of_each_tensor(given_tensors: list[Tensor], with_units: bool) -> None:
    tape = Tape(CPU)
    decode = measure(given_tensors, tape, sample=1000, with_units=with_units)
    found = decode(tape.whole().tolist())

    for one, tensor in zip(found, given_tensors, strict=True):
        finite = tensor[torch.isfinite(tensor)]
        assert (one.size, one.nans, one.infs) == (
            tensor.numel(), int(tensor.isnan().sum()), int(tensor.isinf().sum())
        )  # fmt: skip
        assert sum(one.counts) == finite.numel()
        if finite.numel():
            assert (one.low, one.high) == (float(finite.min()), float(finite.max()))
        assert one.squares == pytest.approx(float(tensor.norm()) ** 2, rel=1e-4, nan_ok=True)
        if with_units:
            rows = tensor.reshape(tensor.shape[0] if tensor.ndim else 1, -1)
            assert one.units == rows.shape[0]
            assert one.alive == int((~(rows == 0).all(1)).sum())


@given(tensors(), st.integers(1, 30))
def test_counting_in_blocks_is_counting(given_tensors: list[Tensor], chunk: int) -> None:
    """The way of a device, in small: tensors are cut into pieces, and pieces put together."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch_statistics, "WATCH_CHUNK_VALUES", 4 * chunk)
        patched.setattr(torch_statistics, "_BLOCK", 4)
        nans, infs = torch_statistics._count_in_blocks(given_tensors)

    assert nans.tolist() == [int(one.isnan().sum()) for one in given_tensors]
    assert infs.tolist() == [int(one.isinf().sum()) for one in given_tensors]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_blocks_of_other_types(dtype: torch.dtype) -> None:
    values = torch.tensor([1.0, math.nan, 2.0, math.nan]).to(dtype)
    nans, infs = torch_statistics._count_in_blocks([values, torch.ones(3)])

    assert (nans.tolist(), infs.tolist()) == ([2, 0], [0, 0])


def test_many_tensors_are_counted_in_several_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With little room only a few rows of the matrix of samples are filled at once."""
    monkeypatch.setattr(torch_statistics, "WATCH_CHUNK_VALUES", 150)
    many = [torch.arange(float(length)) for length in (3, 70, 64, 65, 1, 200, 300)]
    tape = Tape(CPU)
    found = measure(many, tape, sample=256, with_units=False)(tape.whole().tolist())

    assert [sum(one.counts) for one in found] == [3, 70, 64, 65, 1, 200, 150]
    assert [(one.low, one.high) for one in found[:5]] == [(0, 2), (0, 69), (0, 63), (0, 64), (0, 0)]


def test_a_scale_is_divided_out() -> None:
    tensor = torch.tensor([-8.0, 4.0, 16.0])
    tape = Tape(CPU)
    (one,) = measure([tensor], tape, sample=9, with_units=True, scale=torch.tensor([4.0]))(tape.whole().tolist())

    assert (one.low, one.high, one.norm) == (-2, 4, pytest.approx(math.sqrt(4 + 1 + 16)))


@pytest.mark.parametrize("least", [1, 2, 3, 4, 24, 90, 256, 1000])
def test_strides_are_prime(least: int) -> None:
    stride = torch_statistics._stride(least)

    assert stride >= least
    assert all(stride % divisor for divisor in range(2, stride))


def test_samples_are_the_same_ones_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed can be told from them; with many tensors each has fewer."""
    monkeypatch.setattr(torch_statistics, "WATCH_SAMPLE_VALUES", 100)
    weights = [torch.arange(1000.0), torch.ones(3)]
    before, lengths = samples(weights)
    weights[1] += 1
    after, _ = samples(weights)

    assert lengths[0] <= 50 and lengths[1] == 3
    assert squared_norms(after - before, lengths).tolist() == [0, pytest.approx(3)]
