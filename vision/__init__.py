"""Pixels: a file to frames, and frames to descriptors."""
