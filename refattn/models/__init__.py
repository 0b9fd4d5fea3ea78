"""NumPy models of the algorithms, one rounding format per stage: written to be read. They never import the oracle."""

from refattn.models.kernel import Problem, Tile, TiledKernel
from refattn.models.splits import combine
from refattn.models.state import State
from refattn.models.tiled import TiledAttention, tiled_attention

__all__ = ["Problem", "State", "Tile", "TiledAttention", "TiledKernel", "combine", "tiled_attention"]
