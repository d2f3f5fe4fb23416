"""Functions on tensors: the recurrence with attention and the loss. Imports torch only."""
