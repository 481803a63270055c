from .filters import Filters as Filters
from .filters import parse_filters as parse_filters
