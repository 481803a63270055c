from .base import Objective as Objective
from .loading import load_objective as load_objective
from .loading import make_objective as make_objective
from .loading import objective_names as objective_names
