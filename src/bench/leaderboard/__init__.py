"""Leaderboards: a pure function of records."""
