"""Adam with moments in 8 bits, as bitsandbytes has it: where that is installed."""

from pathlib import Path

import pytest
import torch

from ruleshift.training.optimizers import adam, fits, moments

pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install 'ruleshift[adam-8bit]'")
LARGE, SMALL = (64, 128), (16,)  # 8,192 weights, and so few that theirs stay in float32


def trained(
    steps: int, in_8bit: bool, kept: Path | None = None
) -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
    """Parameters after steps of Adam towards ones; half of them after its state was saved, and read, in `kept`."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in (LARGE, SMALL)]
    optimizer = adam([{"params": parameters}], 1e-2, 1e-8, in_8bit)
    for step in range(steps):
        if kept is not None and step == steps // 2:
            torch.save(optimizer.state_dict(), kept)
            optimizer = adam([{"params": parameters}], 1e-2, 1e-8, in_8bit)
            optimizer.load_state_dict(torch.load(kept, weights_only=True))
        optimizer.zero_grad()
        sum(((p - 1) ** 2).sum() for p in parameters).backward()  # type: ignore[union-attr]
        optimizer.step()
    return parameters, optimizer


def test_large_parameters_have_moments_of_8_bits_and_small_ones_do_not() -> None:
    parameters, optimizer = trained(2, in_8bit=True)
    large, small = (optimizer.state[p] for p in parameters)
    assert {large["state1"].dtype, large["state2"].dtype} == {torch.uint8}
    assert {small["state1"].dtype, small["state2"].dtype} == {torch.float32}
    assert all(fits(p, optimizer.state[p]) for p in parameters)
    assert not fits(parameters[1], large)
    assert sum(value.nbytes for value in moments(optimizer).values()) < 3 * parameters[0].numel()


def test_it_learns_nearly_as_in_float32_and_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, _ = trained(50, in_8bit=True)
    plain, _ = trained(50, in_8bit=False)
    again, _ = trained(50, in_8bit=True, kept=tmp_path / "state.pt")
    assert all(torch.equal(one, other) for one, other in zip(whole, again, strict=True))
    assert 0 < (whole[0] - plain[0]).abs().mean() < 0.02  # rounding: of 0.5 that they went at the most
    assert (whole[1] - plain[1]).abs().max() < 1e-5
