"""Artifacts: what runs make and read, in versions that never change, under names that move."""
