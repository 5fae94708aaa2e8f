"""Ranges of numeric settings: the types of constructors' keywords, which the command line reads."""

from math import inf
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Count = Annotated[int, Ge(1)]
Whole = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0), Lt(inf)]
NonNegative = Annotated[float, Ge(0), Lt(inf)]
Share = Annotated[float, Ge(0), Le(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]
PositiveShare = Annotated[float, Gt(0), Le(1)]
Sigma = Annotated[float, Ge(0), Le(512)]  # standard deviation in pixels of a Gaussian that smooths a map
