#!/usr/bin/env bash
# What all recipes of speech can be told, in one place. Sourced by their run.sh.
# shellcheck disable=SC2034,SC2154  # used by the scripts that source this; opt_* are set by name, from the table

# name | kind | default | help
SPEECH_OPTIONS='
Model
  conv-channels | list | 32,32 | channels of the convolutions, each of which halves frames and bands; 0 for none
  layers      | int   | 3 | recurrent layers of the encoder
  halvings    | count | 0 | of them, from the second on, that read pairs of steps
  hidden-size | int   | 160 | state of one direction of the encoder
  embed-dim   | int   | 64 | width of the embeddings
  decoder-size | int  | 256 | state of the decoder
  attn-dim    | int   | 128 | width of the attention
  location    | count | 10 | filters over the weights of the step before; 0 for an attention that does not know where it is
  ctc-weight  | share | 0.3 | share of the CTC loss; 0 for none
  dropout     | share | 0.3 | share of units dropped in training
  compute-dtype | choice:float32,bfloat16,auto | auto | matrix products of the model; auto: bfloat16 on a CPU that is faster in it
Training
  epochs      | int   | 40 | passes over the recordings
  lr          | number | 2e-3 | peak learning rate; it falls to 0 with the last epoch
  warmup      | int   | 300 | updates up to the peak
  max-tokens  | int   | 12000 | frames in a batch, padding included
  label-smoothing | share | 0.1 | probability given to all other symbols
  clip-norm   | number | 1.0 | largest norm of the gradient; 0 for no limit
  average     | int   | 5 | the model is the mean of so many last epochs
  seed        | count | 1 | of the training
Search
  beam        | int   | 10 | width of the beam search
  lenpen      | number | 1.0 | above 1 favours longer transcripts, below 1 shorter ones
  max-len-b   | int   | 100 | symbols of a transcript, at most
Machine
  device      | choice:auto,cpu,gpu | auto | auto: a GPU if PyTorch sees one
  gpus        | count | 1 | GPUs of this machine to train on; 0 for all of them
  precision   | choice:float32,fp16,bf16 | float32 | arithmetic on a GPU
  threads     | count | 0 | threads of the training; 0 for one a core
  smoke       | flag  | 0 | try everything on made-up sound, in a folder of its own
'

# What makes a different model.
MODEL_SETTINGS="conv-channels layers halvings hidden-size embed-dim decoder-size attn-dim location ctc-weight dropout epochs lr
  warmup max-tokens label-smoothing clip-norm average seed"

# What --smoke changes. Its rates mean nothing.
SPEECH_SMOKE='
  conv-channels=4 layers=1 hidden-size=24 embed-dim=16 decoder-size=32 attn-dim=16 epochs=2 warmup=10 max-tokens=3000 average=2
  beam=2 max-len-b=8 threads=1 device=cpu
'

# Sets TRAIN_ARGS: all arguments of fairseq-train but for its data, where it saves, and the machine.
set_train_args() {
  TRAIN_ARGS=(
    --task speech_to_text --arch attn_rnn_s2t --dropout "$opt_dropout"
    --encoder-conv-channels "$opt_conv_channels" --encoder-layers "$opt_layers" --encoder-halvings "$opt_halvings"
    --encoder-hidden-size "$opt_hidden_size" --encoder-bidirectional
    --decoder-embed-dim "$opt_embed_dim" --decoder-out-embed-dim "$opt_embed_dim" --share-decoder-input-output-embed
    --decoder-hidden-size "$opt_decoder_size" --attn-dim "$opt_attn_dim"
    --criterion attn_label_smoothed_cross_entropy --label-smoothing "$opt_label_smoothing"
    --optimizer adam --clip-norm "$opt_clip_norm" --max-tokens "$opt_max_tokens" --required-batch-size-multiple 1
    --lr-scheduler fixed --lr "$(linear_rates "$opt_lr" "$opt_epochs")" --warmup-updates "$opt_warmup"
    --max-epoch "$opt_epochs" --keep-last-epochs "$opt_average" --seed "$opt_seed"
  )
  if [ "$opt_location" -gt 0 ]; then TRAIN_ARGS+=(--attn-location-filters "$opt_location"); fi
  case ${opt_ctc_weight//[0.]/} in
    '') ;; # however many zeros
    *) TRAIN_ARGS+=(--encoder-ctc --ctc-weight "$opt_ctc_weight") ;;
  esac
  case $opt_precision in
    fp16) TRAIN_ARGS+=(--fp16) ;;
    bf16) TRAIN_ARGS+=(--bf16) ;;
  esac
  TRAIN_ARGS+=(${EXTRA[@]+"${EXTRA[@]}"})
}
