"""Transformers: one to read (``transformer``), a fast stack of many (``ensemble``), and their files."""
