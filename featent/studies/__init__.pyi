"What can be done with scores: tables out."

from . import comparison as comparison
from . import moments as moments
from . import training as training
from . import looking_back as looking_back
from . import following as following
from . import training_plots as training_plots
from . import zoo_plans as zoo_plans
from . import regularisers as regularisers
from . import margins as margins
from . import zoo_folder as zoo_folder
from . import zoo as zoo
from . import weight_norms as weight_norms
from . import generalization as generalization
from . import correlations as correlations
from . import generalization_plots as generalization_plots
from . import rescaling as rescaling
from . import ablation as ablation
from . import roles as roles
from . import importance as importance
from . import pruning as pruning
from . import pruning_curves as pruning_curves
from . import linear_networks as linear_networks
from . import activation_patterns as activation_patterns
from . import pattern_entropies as pattern_entropies
from . import pattern_controls as pattern_controls
from . import linear_depth as linear_depth
