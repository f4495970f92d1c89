"""Slicers: find groups of samples with more errors than the rest; all see discovery samples only."""

from mmaudit.slicers._mixture import MixtureSlicer
from mmaudit.slicers._portfolio import Portfolio, Slice, strength
from mmaudit.slicers._predicates import Predicate, Rule
from mmaudit.slicers._risk import RiskSlicer
from mmaudit.slicers._rules import RuleSlicer

__all__ = ["MixtureSlicer", "Portfolio", "Predicate", "RiskSlicer", "Rule", "RuleSlicer", "Slice", "strength"]
