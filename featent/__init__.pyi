"Topological feature entropy of the units of convolutional networks, beside its controls."

from . import (
    assessment as assessment,
    commands as commands,
    data as data,
    explorers as explorers,
    statistics as statistics,
    studies as studies,
    tools as tools,
    topology as topology,
)
from .assessment.result import Result as Result
from .assessment.assessing import assess as assess, estimate as estimate
from .assessment.filling import fill as fill
from .assessment.loading import load as load
from .assessment.preflight import check as check
from .commands.magics import (
    _jupyter_labextension_paths as _jupyter_labextension_paths,
    load_ipython_extension as load_ipython_extension,
)
from .commands.runs import run as run
from .commands.sweeps import sweep as sweep
from .data.image_sets import Images as Images
from .data.sampling import hold_out as hold_out, images as images
from .data.preprocessing import preprocess as preprocess
from .data.layers import list_layers as list_layers
from .data.evaluation import accuracy as accuracy
from .data.architectures import list_networks as list_networks
from .data.networks import network as network
from .data.twins import random_twin as random_twin
from .data.trainer import train as train
from .explorers.app import explore as explore
from .explorers.atlases import atlas as atlas
from .statistics.contrast import contrasts as contrasts
from .statistics.entropy import feature_entropy as feature_entropy, selective_rate as selective_rate
from .statistics.scores import score_table as score_table
from .statistics.estimators import entropy_estimates as entropy_estimates
from .studies.ablation import ablate as ablate
from .studies.generalization import compare_networks as compare_networks
from .studies.pruning import prune as prune
from .studies.rescaling import rescale as rescale
from .studies.training import monitor as monitor
from .tools.release import __version__ as __version__
from .topology.filtrations import (
    betti_curves as betti_curves,
    births as births,
    diagrams as diagrams,
    levels as levels,
)
from .topology.nulls import shuffle_pixels as shuffle_pixels
