"What goes in: images with labels, networks, the layers of a network and their maps."

from . import pictures as pictures
from . import preprocessing as preprocessing
from . import reading as reading
from . import image_sets as image_sets
from . import published as published
from . import folders as folders
from . import items as items
from . import datasets as datasets
from . import sampling as sampling
from . import held_out as held_out
from . import in_memory as in_memory
from . import checkpoints as checkpoints
from . import networks as networks
from . import listening as listening
from . import layers as layers
