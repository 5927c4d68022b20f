"What can be touched."

from . import unit_views as unit_views
from . import explorer as explorer
from . import network_views as network_views
from . import app as app
