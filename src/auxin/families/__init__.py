"""Families of transformers whose description is known from their config or their modules."""

from auxin.families.description import network_of

__all__ = ["network_of"]
