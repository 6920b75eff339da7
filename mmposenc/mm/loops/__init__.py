"""Loops that take the place of a test: consistency under shifts, ranking, sweep."""

from .consistency import ShiftConsistencyLoop
from .rank import ChannelRankingLoop
from .sweep import AblationSweepLoop

__all__ = ['AblationSweepLoop', 'ChannelRankingLoop', 'ShiftConsistencyLoop']
