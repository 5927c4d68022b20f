"Topological feature entropy of the units of convolutional networks, beside its controls."

from . import tools as tools
from . import data as data
from . import topology as topology
from . import statistics as statistics
from . import assessment as assessment
from . import studies as studies
from . import explorers as explorers
from . import commands as commands
from .data.images import (
    Images as Images,
    images as images,
    preprocess as preprocess,
    hold_out as hold_out,
)
from .data.networks import (
    network as network,
    list_networks as list_networks,
    random_twin as random_twin,
    train as train,
    accuracy as accuracy,
)
from .data.layers import (
    list_layers as list_layers,
)
from .topology.filtrations import (
    births as births,
    levels as levels,
    diagrams as diagrams,
    betti_curves as betti_curves,
)
from .topology.nulls import (
    shuffle_pixels as shuffle_pixels,
)
from .statistics.entropy import (
    feature_entropy as feature_entropy,
    selective_rate as selective_rate,
    score_table as score_table,
)
from .statistics.uncertainty import (
    entropy_estimates as entropy_estimates,
)
from .statistics.contrast import (
    contrasts as contrasts,
)
from .assessment.preflight import (
    check as check,
)
from .assessment.assessing import (
    assess as assess,
    estimate as estimate,
    fill as fill,
    load as load,
    Result as Result,
)
from .studies.rescaling import (
    rescale as rescale,
)
from .studies.ablation import (
    ablate as ablate,
)
from .studies.pruning import (
    prune as prune,
)
from .studies.training import (
    monitor as monitor,
)
from .studies.generalization import (
    compare_networks as compare_networks,
)
from .explorers.app import (
    explore as explore,
)
from .commands.runs import (
    run as run,
    sweep as sweep,
)
from .tools.release import (
    __version__ as __version__,
)
from .commands.magics import (
    _jupyter_labextension_paths as _jupyter_labextension_paths,
    load_ipython_extension as load_ipython_extension,
)
