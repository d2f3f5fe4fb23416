"""What fairseq sees: the architectures of `attn_rnn_s2s`."""
