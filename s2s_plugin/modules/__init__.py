"""Layers with parameters. They import torch and `ops`, never fairseq, and take plain keyword arguments."""
