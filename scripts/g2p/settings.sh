#!/usr/bin/env bash
# All settings of the recipe, in one place. Sourced by run.sh.
# shellcheck disable=SC2034,SC2154  # used by the scripts that source this; opt_* are set by name, from the table

# name | kind | default | help
OPTIONS='
What to do
  data        | folder | | folder of {language}_{train,dev,test}.tsv, as in github.com/sigmorphon/2020, task1/data
  languages   | langs | fre hun vie hin | one model is trained for each
  seeds       | counts | 1 | one model is trained for each seed; the tables then show mean and deviation
  seed        | count | | short for --seeds with a single one
  test        | flag  | 0 | also measure on the test words: for the end, when all settings stand
  any-data    | flag  | 0 | take tables that are not those of the shared task
  work        | path  | work/g2p | folder for everything that is made
  split-marks | langs | vie | languages whose letters are read as a base and its marks (NFD); " " for none
Model
  arch        | word  | attn_rnn_s2s | architecture: attn_rnn_s2s, a preset of it, or fairseq'"'"'s lstm for comparison
  embed-dim   | int   | 128 | width of the embeddings
  hidden-size | int   | 128 | state of one direction of the encoder; the decoder has twice that
  attn-dim    | int   | 128 | width of the attention
  layers      | int   | 1 | layers of encoder and decoder each
  dropout     | share | 0.3 | share of units dropped in training
Training
  epochs      | int   | 25 | passes over the words
  lr          | number | 3e-3 | peak learning rate; it falls to 0 with the last epoch
  warmup      | int   | 200 | updates up to the peak
  batch-size  | int   | 32 | words in a batch
  label-smoothing | share | 0.1 | probability given to all other phonemes
  clip-norm   | number | 1.0 | largest norm of the gradient; 0 for no limit
  average     | int   | 3 | the model is the mean of so many last epochs
Search
  beam        | int   | 5 | width of the beam search
  lenpen      | number | 1.0 | above 1 favours longer pronunciations, below 1 shorter ones
Machine
  threads     | count | 1 | threads of the training; 0 for one a core
  smoke       | flag  | 0 | try everything on the sample in examples/g2p/data, in a folder of its own
'

# What --smoke changes. Its rates mean nothing.
SMOKE_DIFFERENCES='
  work=work/g2p_smoke languages=fre any-data=1 embed-dim=32 hidden-size=32 attn-dim=32 epochs=2 average=2 warmup=20 beam=2
'

# What makes a different model.
MODEL_SETTINGS="arch embed-dim hidden-size attn-dim layers dropout epochs lr warmup batch-size label-smoothing clip-norm average"

# Sets TRAIN_ARGS: all arguments of fairseq-train but for its data, its seed, and where it saves.
set_train_args() {
  local criterion=label_smoothed_cross_entropy
  case $opt_arch in attn_rnn_s2s*) criterion=attn_label_smoothed_cross_entropy ;; esac
  TRAIN_ARGS=(
    --source-lang word --target-lang phoneme
    --arch "$opt_arch" --dropout "$opt_dropout"
    --encoder-embed-dim "$opt_embed_dim" --encoder-hidden-size "$opt_hidden_size" --encoder-bidirectional
    --encoder-layers "$opt_layers" --decoder-layers "$opt_layers"
    --decoder-embed-dim "$opt_embed_dim" --decoder-hidden-size $((2 * opt_hidden_size))
    --decoder-out-embed-dim "$opt_embed_dim" --share-decoder-input-output-embed
    --task attn_translation --criterion "$criterion" --label-smoothing "$opt_label_smoothing"
    --optimizer adam --clip-norm "$opt_clip_norm" --batch-size "$opt_batch_size"
    --lr-scheduler fixed --lr "$(linear_rates "$opt_lr" "$opt_epochs")" --warmup-updates "$opt_warmup"
    --max-epoch "$opt_epochs" --keep-last-epochs "$opt_average"
    --cpu --num-workers 0
  )
  case $opt_arch in attn_rnn_s2s*) TRAIN_ARGS+=(--attn-dim "$opt_attn_dim") ;; esac
  TRAIN_ARGS+=(${EXTRA[@]+"${EXTRA[@]}"})
}
