"What can be done with scores: tables out."

from . import (
    ablation as ablation,
    comparison as comparison,
    generalization as generalization,
    patterns as patterns,
    pruning as pruning,
    rescaling as rescaling,
    roles as roles,
    training as training,
    zoo as zoo,
)
