"""The task `attn_translation`."""
