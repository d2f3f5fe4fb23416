"""Named architectures: for each, only what differs from the defaults in `config.py`."""

PRESETS = {
    # The textbook: an Elman network with additive attention and no gates (Elman 1990; Bahdanau, Cho and Bengio 2015).
    "attn_rnn_s2s_vanilla": {
        "encoder_cell": "tanh",
        "decoder_cell": "tanh",
        "encoder_bidirectional": True,
    },
    # The first decoder layer reads words alone, and its states ask for all contexts at once (Wu et al. 2016, sec. 3).
    "attn_rnn_s2s_gnmt": {
        "attn_mode": "parallel",
        "encoder_bidirectional": True,
    },
}
