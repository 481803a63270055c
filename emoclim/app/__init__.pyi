from .jobs import Jobs as Jobs
from .jobs import Outcome as Outcome
from .libraries import Libraries as Libraries
from .libraries import ServedLibrary as ServedLibrary
from .service import create_app as create_app
from .service import server_config as server_config
from .settings import ServiceSettings as ServiceSettings
