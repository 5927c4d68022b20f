"What can be done with scores: tables out."

from . import comparison as comparison
from . import training as training
from . import zoo as zoo
from . import generalization as generalization
from . import rescaling as rescaling
from . import ablation as ablation
from . import roles as roles
from . import pruning as pruning
from . import patterns as patterns
