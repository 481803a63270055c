from .approximate import ApproximateRanker as ApproximateRanker
from .approximate import build_lists as build_lists
from .approximate import read_lists as read_lists
from .filters import Filters as Filters
from .filters import parse_filters as parse_filters
