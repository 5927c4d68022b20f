"What goes in: images with labels, networks, the layers of a network and their maps."

from . import images as images
from . import checkpoints as checkpoints
from . import matching as matching
from . import records as records
from . import forward as forward
from . import architectures as architectures
from . import published as published
from . import own_code as own_code
from . import networks as networks
from . import inputs as inputs
from . import outputs as outputs
from . import evaluation as evaluation
from . import calibration as calibration
from . import resuming as resuming
from . import trainer as trainer
from . import sameness as sameness
from . import twins as twins
from . import listening as listening
from . import layers as layers
