"""The growing cache, and the window of conversations on it."""

import pytest
import torch
from transformers import DynamicCache

from ruleshift.engines.cache import GrowingCache
from ruleshift.engines.window import Window


def columns(count: int, rows: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 2, count, 4, generator=generator), torch.randn(rows, 2, count, 3, generator=generator)


def same(found: tuple[torch.Tensor, torch.Tensor], expected: tuple[torch.Tensor, torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_the_growing_cache_holds_what_a_dynamic_cache_holds():
    growing, dynamic = GrowingCache(2), DynamicCache()
    assert growing.get_seq_length() == 0
    for step, count in enumerate((5, 1, 1, 40, 1, 90, 1)):
        for layer in range(2):
            new = columns(count, seed=10 * step + layer)
            same(growing.update(*new, layer), dynamic.update(*new, layer))
        assert growing.get_seq_length() == dynamic.get_seq_length()
        assert growing.get_mask_sizes(1, 0) == dynamic.get_mask_sizes(1, 0)


def test_select_keeps_rows_and_of_each_its_columns():
    cache = GrowingCache(1)
    keys, values = cache.update(*columns(7), 0)
    keys, values = keys.clone(), values.clone()
    rows = torch.tensor([4, 0, 3])
    chosen = torch.tensor([[0, 2, 3, 6], [1, 0, 5, 4], [6, 5, 4, 3]])
    cache.select(rows, chosen)
    assert cache.get_seq_length() == 4
    new = columns(2, rows=3, seed=1)
    found = cache.update(*new, 0)
    expected = [
        torch.cat([torch.stack([old[row][:, of] for row, of in zip(rows, chosen, strict=True)]), more], dim=2)
        for old, more in zip((keys, values), new, strict=True)
    ]
    same(found, (expected[0], expected[1]))


def test_only_leading_rows_may_go_on():
    """Columns that rows behind them lack hold zeros, never what memory held before."""
    cache = GrowingCache(1)
    old = tuple(part.clone() for part in cache.update(*columns(5), 0))
    leading = columns(100, rows=4, seed=1)
    same(cache.update(*leading, 0), tuple(torch.cat([a[:4], b], dim=2) for a, b in zip(old, leading, strict=True)))
    assert cache.get_seq_length() == 105
    for part, before in zip(cache.layers[0].parts, old, strict=True):
        torch.testing.assert_close(part.view[0, 4:, :, :5], before[4:], atol=0, rtol=0)
        assert not part.view[0, 4:, :, 5:].any()


def test_rows_change_places():
    cache = GrowingCache(2)
    old = [tuple(part.clone() for part in cache.update(*columns(5, seed=layer), layer)) for layer in range(2)]
    cache.swap(torch.tensor([0, 2]), torch.tensor([5, 3]))
    for layer, before in enumerate(old):
        parts = tuple(part.view[0] for part in cache.layers[layer].parts)
        same(parts, tuple(part[[5, 1, 3, 2, 4, 0]] for part in before))


def window_of(cache: GrowingCache, used: torch.Tensor) -> Window:
    """A window whose rows use the columns where `used` (B, L) is true."""
    window = Window.empty(cache, len(used), torch.float32, torch.device("cpu"))
    window.extend(used)
    return window


def used_columns(window: Window) -> list[list[bool]]:
    return (window.bias == 0).tolist()


@pytest.mark.parametrize("widths", [(5, 9), (9, 5), (4, 4)])
def test_join_puts_rows_below_each_other(widths):
    caches = tuple(GrowingCache(1) for _ in widths)
    parts = [cache.update(*columns(widths[i], rows=2 + i, seed=i), 0) for i, cache in enumerate(caches)]
    expected = []
    for one, other in zip(*parts, strict=True):
        both = torch.zeros(5, 2, max(widths), one.shape[3])
        both[:2, :, : widths[0]], both[2:, :, : widths[1]] = one, other
        expected.append(both)
    windows = [window_of(cache, torch.ones(2 + i, widths[i], dtype=torch.bool)) for i, cache in enumerate(caches)]
    windows[0].join(windows[1])
    assert windows[0].lengths.tolist() == [widths[0]] * 2 + [widths[1]] * 3
    assert [sum(row) for row in used_columns(windows[0])] == windows[0].lengths.tolist()
    assert caches[0].get_seq_length() == max(widths)
    new = columns(2, rows=5, seed=2)
    found = caches[0].update(*new, 0)
    same(found, tuple(torch.cat([old, more], dim=2) for old, more in zip(expected, new, strict=True)))


def test_joining_an_empty_window_is_taking_over():
    cache = GrowingCache(1)
    cache.update(*columns(3, rows=2), 0)
    window = window_of(GrowingCache(1), torch.zeros(0, 0, dtype=torch.bool))
    window.join(window_of(cache, torch.ones(2, 3, dtype=torch.bool)))
    assert window.cache is cache
    assert window.lengths.tolist() == [3, 3]


def test_a_window_squeezes_out_unused_columns():
    used = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0]], dtype=torch.bool)
    cache = GrowingCache(1)
    keys = cache.update(*columns(6, rows=3), 0)[0].clone()
    window = window_of(cache, used)
    window.keep(torch.tensor([2, 0]))
    assert used_columns(window) == [[True, True, False], [True, True, True]]
    assert window.lengths.tolist() == [2, 3]
    kept = cache.layers[0].parts[0].view[0]
    torch.testing.assert_close(kept[0, :, :2], keys[2][:, [2, 3]], atol=0, rtol=0)
    torch.testing.assert_close(kept[1], keys[0][:, [1, 2, 4]], atol=0, rtol=0)


def test_a_mask_shows_earlier_tokens_of_the_same_row():
    cache = GrowingCache(1)
    cache.update(*columns(3, rows=3), 0)
    window = window_of(cache, torch.tensor([[True, False, True], [False, False, True], [True, True, True]]))
    position, mask = window.extend(torch.tensor([[False, True], [True, True]]))  # of the two leading rows
    assert position[0, 1] == 2
    assert position[1].tolist() == [1, 2]
    assert (mask == 0).int()[:, 0].tolist() == [
        [[1, 0, 1, 0, 0], [1, 0, 1, 0, 1]],
        [[0, 0, 1, 1, 0], [0, 0, 1, 1, 1]],
    ]
    assert torch.isfinite(mask).all()
    assert mask[mask != 0].max() < -1e38
    assert window.lengths.tolist() == [3, 3, 3]
    window.swap(torch.tensor([0]), torch.tensor([2]))
    position, mask = window.extend(torch.tensor([[True]]))
    assert position.tolist() == [[3]]
    assert (mask == 0).tolist() == [[[[True, True, True, False, False, True]]]]
