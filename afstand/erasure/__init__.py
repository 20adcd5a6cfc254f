"""Retention: what is kept how long, legal hold, erasure by case, and its proof."""
