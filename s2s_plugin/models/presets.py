"""Named architectures: for each, only what differs from the defaults in `config.py`.

Sizes are those of the papers, but for `_tiny` and `_lowresource`, which say their own; every one can be changed on the
command line.
"""

PRESETS = {
    # The textbook: an Elman network with additive attention and no gates (Elman 1990; Bahdanau, Cho and Bengio 2015).
    "attn_rnn_s2s_vanilla": {
        "encoder_cell": "tanh",
        "decoder_cell": "tanh",
        "attn_mode": "recurrent",
        "decoder_bridge": "last",
        "encoder_bidirectional": True,
    },
    # RNNsearch of Bahdanau, Cho and Bengio (2015, app. A and B): the previous state asks, maxout readout, no dropout.
    # The first state is made of the last states of both directions, where the paper takes the backward one alone.
    "attn_rnn_s2s_rnnsearch": {
        "encoder_cell": "gru",
        "decoder_cell": "gru",
        "encoder_bidirectional": True,
        "encoder_embed_dim": 620,
        "decoder_embed_dim": 620,
        "encoder_hidden_size": 1000,
        "decoder_hidden_size": 1000,
        "attn_dim": 1000,
        "decoder_out_embed_dim": 500,
        "decoder_readout": "maxout",
        "attn_mode": "recurrent",
        "decoder_bridge": "last",
        "hidden_init": "orthogonal",
        "dropout": 0.0,
    },
    # The conditional GRU of Nematus (Sennrich et al. 2017, sec. 2), with which LIUM's systems are built too.
    "attn_rnn_s2s_cgru": {
        "encoder_cell": "gru",
        "decoder_cell": "gru",
        "encoder_bidirectional": True,
        "encoder_hidden_size": 1024,
        "decoder_hidden_size": 1024,
        "attn_mode": "conditional",
        "decoder_bridge": "mean",
        "hidden_init": "orthogonal",
        "variational_dropout": True,
    },
    # GNMT (Wu et al. 2016, sec. 3) but for its depth: normalised energies, and a first decoder layer that reads words
    # alone, so that all contexts are read at once. The rest of it is --encoder-layers 8 --decoder-layers 8.
    "attn_rnn_s2s_gnmt": {
        "encoder_cell": "lstm",
        "decoder_cell": "lstm",
        "decoder_bridge": "last",
        "attn_mode": "parallel",
        "attn_energy": "normed",
        "encoder_bidirectional": True,
    },
    # RNMT+ (Chen et al. 2018, sec. 3): deep, normalised cells, residual connections, four heads, context everywhere.
    "attn_rnn_s2s_rnmt_plus": {
        "encoder_cell": "lstm",
        "decoder_cell": "lstm",
        "attn_mode": "recurrent",
        "decoder_bridge": "last",
        "encoder_embed_dim": 1024,
        "decoder_embed_dim": 1024,
        "encoder_hidden_size": 1024,
        "decoder_hidden_size": 1024,
        "encoder_layers": 6,
        "decoder_layers": 8,
        "encoder_bidirectional": True,
        "encoder_layer_norm": True,
        "decoder_layer_norm": True,
        "encoder_residual": True,
        "decoder_residual": True,
        "attn_heads": 4,
        "dropout": 0.3,
    },
    # What Sennrich and Zhang (2019, sec. 3) found for little data, of what an architecture can hold: normalised cells,
    # tied embeddings, dropout of Gal's kind on states and inputs, dropout of whole words. Small batches, a small BPE
    # vocabulary and label smoothing go with it on the command line.
    "attn_rnn_s2s_lowresource": {
        "encoder_bidirectional": True,
        "encoder_embed_dim": 256,
        "decoder_embed_dim": 256,
        "encoder_hidden_size": 256,
        "decoder_hidden_size": 512,
        "attn_dim": 256,
        "share_decoder_input_output_embed": True,
        "encoder_layer_norm": True,
        "decoder_layer_norm": True,
        "variational_dropout": True,
        "dropout": 0.3,
        "encoder_dropout_hidden": 0.2,
        "decoder_dropout_hidden": 0.2,
        "encoder_word_dropout": 0.1,
        "decoder_word_dropout": 0.1,
    },
    # For trials, lessons and machines with little memory: under a million parameters besides the embeddings.
    "attn_rnn_s2s_tiny": {
        "encoder_bidirectional": True,
        "encoder_embed_dim": 128,
        "decoder_embed_dim": 128,
        "encoder_hidden_size": 128,
        "decoder_hidden_size": 256,
        "attn_dim": 128,
        "share_decoder_input_output_embed": True,
    },
}
