"""Figures and pages drawn from runs and from theory."""
