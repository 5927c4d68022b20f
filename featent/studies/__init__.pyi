"What can be done with scores: tables out."

from . import comparison as comparison
from . import training as training
from . import zoo as zoo
from . import generalization as generalization
from . import slots as slots
from . import scale_rules as scale_rules
from . import scale_groups as scale_groups
from . import rescaling as rescaling
from . import invariance as invariance
from . import halving as halving
from . import replay as replay
from . import masking as masking
from . import orders as orders
from . import ablation as ablation
from . import transitions as transitions
from . import areas as areas
from . import ablation_plots as ablation_plots
from . import roles as roles
from . import pruning as pruning
from . import patterns as patterns
