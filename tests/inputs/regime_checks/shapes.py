"""Lengths, heads and head dimensions of cases."""

from __future__ import annotations

from refattn.inputs.regimes.building import TILES
from tests.inputs.regime_checks.figures import sizes


def about_tiles(more, multiples=1):
    return sizes(lambda s: (s.keys - more) // multiples in (*TILES, 256, 512))


CHECKS = {
    "lengths/one-key": sizes(lambda s: s.keys == 1),
    "lengths/one-query": sizes(lambda s: s.queries == 1),
    "lengths/no-keys": sizes(lambda s: s.keys == 0 and s.queries > 0),
    "lengths/no-queries": sizes(lambda s: s.queries == 0 and s.keys > 0),
    "lengths/tile": about_tiles(0),
    "lengths/two-tiles": about_tiles(0, 2),
    "lengths/tile-1": about_tiles(-1),
    "lengths/tile+1": about_tiles(1),
    "lengths/two-tiles+1": about_tiles(1, 2),
    "lengths/fewer-queries": sizes(lambda s: s.queries <= max(1, s.keys // 2)),
    "lengths/more-queries": sizes(lambda s: s.keys <= max(1, s.queries // 2)),
    "heads/grouped": sizes(lambda s: 2 <= s.group <= 8),
    "heads/seven": sizes(lambda s: s.group == 7),
    "heads/multi-query": sizes(lambda s: s.kv_heads == 1 and s.heads > 1 and s.queries == 1),
    "dims/not-a-power-of-two": sizes(lambda s: s.d_qk & (s.d_qk - 1)),
    "dims/largest": sizes(lambda s: s.d_qk in (64, 4)),
    "dims/wider-v": sizes(lambda s: s.d_v > s.d_qk),
    "dims/narrower-v": sizes(lambda s: s.d_v < s.d_qk),
}
