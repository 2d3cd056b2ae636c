"""Families of transformers whose description is known from their config or their modules."""
