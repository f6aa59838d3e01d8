"""Which files of a folder are images."""

from __future__ import annotations

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm"})
"""Endings, in small letters."""
