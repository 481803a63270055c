from .jobs import Jobs as Jobs
from .jobs import Outcome as Outcome
