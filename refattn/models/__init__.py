"""NumPy models of the algorithms, one rounding format per stage: written to be read. They never import the oracle."""

from refattn.models.backward import Gradients, TiledBackward, attention_backward
from refattn.models.exp2 import polynomial_exp2
from refattn.models.kernel import Problem, Tile, TiledKernel
from refattn.models.learned import (
    BlockScaledAttention,
    ExactScales,
    LeakyAttention,
    MomentScales,
    PublishedScales,
    StaticScales,
    Uncorrected,
)
from refattn.models.rounding import Rounder, Stages
from refattn.models.softmax import (
    log_softmax,
    logsumexp,
    naive_softmax,
    online_softmax,
    safe_softmax,
    tiled_softmax,
)
from refattn.models.sparse import hash_sparse_attention, qk_sparse_attention
from refattn.models.splits import combine
from refattn.models.state import State
from refattn.models.tiled import TiledAttention, tiled_attention

__all__ = [
    "BlockScaledAttention",
    "ExactScales",
    "Gradients",
    "LeakyAttention",
    "MomentScales",
    "Problem",
    "PublishedScales",
    "Rounder",
    "Stages",
    "State",
    "StaticScales",
    "Tile",
    "TiledAttention",
    "TiledBackward",
    "TiledKernel",
    "Uncorrected",
    "attention_backward",
    "combine",
    "hash_sparse_attention",
    "log_softmax",
    "logsumexp",
    "naive_softmax",
    "online_softmax",
    "polynomial_exp2",
    "qk_sparse_attention",
    "safe_softmax",
    "tiled_attention",
    "tiled_softmax",
]
