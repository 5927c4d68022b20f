"What can be touched."

from . import unit_views as unit_views
from . import explorer as explorer
from . import study as study
from . import scenes as scenes
from . import controls as controls
from . import rescaling_grid as rescaling_grid
from . import rescaling_view as rescaling_view
from . import ablation_path as ablation_path
from . import ablation_view as ablation_view
from . import training_view as training_view
from . import comparison_view as comparison_view
from . import folders as folders
from . import waiting as waiting
from . import sources as sources
from . import about as about
from . import costs as costs
from . import requests as requests
from . import form as form
from . import registry as registry
from . import app as app
