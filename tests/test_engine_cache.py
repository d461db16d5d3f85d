"""The growing cache, and the window of conversations on it."""

import torch
from transformers import DynamicCache

from ruleshift.engines.cache import GrowingCache, GrowingLayer
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


def test_a_fork_gains_columns_alone_and_merge_takes_them_over():
    cache = GrowingCache(1)
    old = tuple(part.clone() for part in cache.update(*columns(5), 0))
    rows, inner_rows = torch.tensor([1, 4, 5]), torch.tensor([2, 0])
    part = cache.fork(rows)
    assert part.get_seq_length() == 5
    gained = columns(3, rows=3, seed=1)
    same(part.update(*gained, 0), tuple(torch.cat([a[rows], b], dim=2) for a, b in zip(old, gained, strict=True)))
    inner = part.fork(inner_rows)
    more = columns(60, rows=2, seed=2)  # beyond the capacity of the outer caches
    inner.update(*more, 0)
    assert (cache.get_seq_length(), part.get_seq_length(), inner.get_seq_length()) == (5, 8, 68)
    part.merge(inner, inner_rows)
    cache.merge(part, rows)
    layer = cache.layers[0]
    assert isinstance(layer, GrowingLayer)
    for found, before, first, second in zip((layer.keys, layer.values), old, gained, more, strict=True):
        expected = torch.zeros(6, 2, 68, found.shape[3])
        expected[:, :, :5] = before
        expected[rows, :, 5:8] = first
        expected[rows[inner_rows], :, 8:] = second
        torch.testing.assert_close(found, expected, atol=0, rtol=0)
    assert cache.get_seq_length() == 68


def test_join_puts_rows_below_each_other():
    for upper_width, lower_width in ((5, 9), (9, 5), (4, 4)):
        upper, lower = (GrowingCache(1) for _ in range(2))
        above = upper.update(*columns(upper_width, rows=2), 0)
        below = lower.update(*columns(lower_width, rows=3, seed=1), 0)
        width = max(upper_width, lower_width)
        expected = []
        for one, other in zip(above, below, strict=True):
            both = torch.zeros(5, 2, width, one.shape[3])
            both[:2, :, :upper_width], both[2:, :, :lower_width] = one, other
            expected.append(both)
        valid = [torch.ones(2, upper_width, dtype=torch.bool), torch.ones(3, lower_width, dtype=torch.bool)]
        window = Window(upper, valid[0])
        window.join(Window(lower, valid[1]))
        assert window.valid.sum(1).tolist() == [upper_width] * 2 + [lower_width] * 3
        assert upper.get_seq_length() == width
        new = columns(2, rows=5, seed=2)
        found = upper.update(*new, 0)
        same(found, tuple(torch.cat([old, more], dim=2) for old, more in zip(expected, new, strict=True)))


def test_joining_an_empty_window_is_taking_over():
    other = GrowingCache(1)
    other.update(*columns(3, rows=2), 0)
    window = Window.empty(1, 0, torch.device("cpu"))
    window.join(Window(other, torch.ones(2, 3, dtype=torch.bool)))
    assert window.cache is other
    assert window.valid.shape == (2, 3)


def test_a_window_squeezes_out_unused_columns():
    valid = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0]], dtype=torch.bool)
    cache = GrowingCache(1)
    keys = cache.update(*columns(6, rows=3), 0)[0].clone()
    window = Window(cache, valid)
    window.keep(torch.tensor([2, 0]))
    assert window.valid.tolist() == [[True, True, False], [True, True, True]]
    kept = cache.layers[0].keys
    torch.testing.assert_close(kept[0, :, :2], keys[2][:, [2, 3]], atol=0, rtol=0)
    torch.testing.assert_close(kept[1], keys[0][:, [1, 2, 4]], atol=0, rtol=0)
