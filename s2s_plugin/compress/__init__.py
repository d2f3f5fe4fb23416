"""Smaller files of finished models."""
