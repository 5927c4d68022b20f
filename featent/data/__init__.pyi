"What goes in: images with labels, networks, the layers of a network and their maps."

from . import images as images
from . import checkpoints as checkpoints
from . import networks as networks
from . import listening as listening
from . import layers as layers
