"What can be touched."

from . import unit_views as unit_views
from . import looks as looks
from . import states as states
from . import unit_numbers as unit_numbers
from . import map_pictures as map_pictures
from . import unit_pictures as unit_pictures
from . import layer_pictures as layer_pictures
from . import frame as frame
from . import unit_explorers as unit_explorers
from . import network_views as network_views
from . import app as app
