# SPDX-License-Identifier: Apache-2.0
"""Which library is asked for a node's GPUs, and what a silent one may be set to."""

from collections.abc import Sequence

import pytest

from profiling.device.gpu import Gpu, Why
from profiling.errors import DeviceError
from slurm_green.config.node import NodeSection
from slurm_green.node import hardware
from slurm_green.node.rights import Allowed
from tests.profiling.device.fake_gpu import FakeGpu


def library(monkeypatch: pytest.MonkeyPatch, name: str, found: Sequence[Gpu] | None) -> None:
    """A vendor's library that gives these GPUs, or fails."""

    class Library:
        def __init__(self, *_: object) -> None:
            if found is None:
                raise DeviceError(f"no library of {name}")

        def gpus(self) -> Sequence[Gpu]:
            return found or ()

    monkeypatch.setattr(hardware, name, Library)


@pytest.mark.parametrize(
    ("vendor", "nvidia", "amd", "wanted"),
    [
        ("auto", ["N"], ["A"], {"N"}),
        ("auto", None, ["A"], {"A"}),
        ("auto", [], ["A"], {"A"}),
        ("amd", ["N"], ["A"], {"A"}),
        ("nvidia", ["N"], None, {"N"}),
        ("nvidia", None, ["A"], "no library of Nvml"),
        ("auto", None, None, "no library of Nvml"),
        ("auto", [], None, "no library of Amd"),
        ("auto", [], [], "no GPU here"),
    ],
)
def test_auto_takes_the_first_that_has_gpus(
    monkeypatch: pytest.MonkeyPatch,
    vendor: str,
    nvidia: list[str] | None,
    amd: list[str] | None,
    wanted: set[str] | str,
) -> None:
    for name, uuids in (("Nvml", nvidia), ("Amd", amd)):
        library(monkeypatch, name, None if uuids is None else [FakeGpu(uuid=u) for u in uuids])
    if isinstance(wanted, str):
        with pytest.raises(DeviceError, match=wanted):
            hardware.find_gpus(vendor, None)
    else:
        assert hardware.find_gpus(vendor, None).keys() == wanted


def test_a_gpu_that_does_not_tell_may_be_set_to_nothing() -> None:
    silent = FakeGpu(refuses={"power_range": Why.NOT_SUPPORTED})
    assert hardware.allowed_of(silent, NodeSection()) == Allowed(clocks_mhz=None, limits_w=None)
