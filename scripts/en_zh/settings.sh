#!/usr/bin/env bash
# All settings of the translation recipes, in one place. Sourced by run.sh, train_large.sh and examples/multi30k/run.sh.
# shellcheck disable=SC2034,SC2154  # used by the scripts that source this; opt_* are set by name, from the table

# name | kind | default | help
OPTIONS='
Where things are
  work        | path  | work/en_zh | folder for everything that is made
  src-lang    | lang  | en | language to translate from
  tgt-lang    | lang  | zh | language to translate into
  train-src   | file  | | your own training text, one sentence a line, plain or .gz (default: the corpus in examples/en_zh/data)
  train-tgt   | file  | | its translation, line by line
  valid-src   | file  | | validation text (default: split off the training text)
  valid-tgt   | file  | | its translation
  test-src    | file  | | test text (default: split off the training text)
  test-tgt    | file  | | its translation
  test2-src   | file  | | a second test text, scored by itself
  test2-tgt   | file  | | its translation
  limit       | count | 0 | use only so many training pairs; 0 for all
  teacher     | folder | | learn from the translations of this model, a recipe'"'"'s folder model (Kim and Rush 2016)
  teach       | choice:beside,instead | beside | the teacher'"'"'s translations come beside the references, twice as many pairs, or instead of them
  finetune    | folder | | train this model on, a recipe'"'"'s folder model: its vocabulary stays, sizes have to be its own
Vocabulary
  vocab-src   | int   | | pieces of the source language (default: 6000 for Chinese, else 5000)
  vocab-tgt   | int   | | pieces of the target language (default: as above)
  joint-vocab | count | 0 | one vocabulary of so many pieces, and one embedding, for both languages; 0 for one each
  sp-type     | choice:unigram,bpe | unigram | kind of sentencepiece model
  coverage    | coverage | 0.9995 | share of the text whose characters get pieces; the rarest ones beyond are unknown words
  char        | flag  | 0 | single characters on the target side
  max-length  | int   | 200 | leave training pairs out that are longer, in pieces
Model
  arch        | word  | attn_rnn_s2s | architecture: attn_rnn_s2s, a preset of it, or fairseq'"'"'s lstm for comparison
  embed-dim   | int   | 256 | width of the embeddings
  hidden-size | int   | 256 | state of one direction of the encoder; the decoder has twice that
  attn-dim    | int   | 256 | width of the attention
  layers      | int   | 1 | layers of encoder and decoder each
  dropout     | share | 0.4 | share of units dropped in training
  encoder-dropout-out     | share | | the same of what the attention reads, for attn_rnn_s2s (default: as --dropout)
  decoder-dropout-readout | share | | the same before the vocabulary, for attn_rnn_s2s (default: as --dropout)
Training
  epochs      | int   | 18 | passes over the corpus; a higher number later goes on from there
  lr          | number | 4e-3 | peak learning rate
  warmup      | int   | 400 | updates up to the peak
  schedule    | choice:linear,inverse_sqrt | linear | down from the peak: to 0 with the last epoch, or without an end
  max-tokens  | int   | 1000 | size of a batch, in pieces with padding; for each process
  update-freq | int   | 1 | batches in one update
  label-smoothing | share | 0.1 | probability given to all other words
  clip-norm   | number | 1.0 | largest norm of the gradient; 0 for no limit
  average     | count | 3 | the model is the mean of so many epochs; 0 for the best epoch alone
  average-of  | choice:last,best | last | which epochs: the last, or those with the best validation BLEU
  save-updates | count | 0 | also save every so many updates; 0 for only after each epoch
  seed        | count | 1 | of everything random
Translation
  score-on    | choice:test,valid | test | which sentences are scored at the end; test files that you give are read only for that
  beam        | int   | 5 | width of the beam search
  lenpen      | number | 1.4 | above 1 favours longer translations, below 1 shorter ones
  bleu-tokenizer | choice:auto,13a,zh,char,intl,none,ja-mecab,ko-mecab | auto | of sacreBLEU; auto: zh for Chinese, else 13a
Machine
  device      | choice:auto,cpu,gpu | auto | auto: a GPU if PyTorch sees one
  cpu         | flag  | 0 | short for --device cpu
  gpus        | count | 1 | GPUs of this machine to train on; 0 for all of them
  cpu-processes | int | 1 | processes to train with on the CPU
  precision   | choice:float32,fp16,bf16 | float32 | arithmetic on a GPU
  compute-dtype | choice:float32,bfloat16,auto | float32 | matrix products of the model; auto: bfloat16 on a CPU that is faster in it
  threads     | count | 0 | threads of each process; 0 for one a core
  smoke       | flag  | 0 | try everything on very little, in a folder of its own
'

# What --smoke changes. Its translations mean nothing.
SMOKE_DIFFERENCES='
  work=work/en_zh_smoke limit=1200 vocab-src=2000 vocab-tgt=2000 embed-dim=64 hidden-size=64 epochs=3 average=2
  warmup=20 max-tokens=1000 beam=2 device=cpu
  threads=1
'

# What train_large.sh changes.
LARGE_DIFFERENCES='
  work=work/large vocab-src=32000 vocab-tgt=32000 embed-dim=512 hidden-size=512 layers=2 dropout=0.2 epochs=10
  attn-dim=512 lr=1e-3 schedule=inverse_sqrt warmup=4000 max-tokens=8000 save-updates=5000 gpus=0
'

# Two processes on the CPU, as large trainings have several on GPUs.
LARGE_SMOKE_DIFFERENCES="
  $SMOKE_DIFFERENCES work=work/large_smoke layers=2 cpu-processes=2 gpus=1 save-updates=10
"

# What of the above makes a different model: a training goes on only as long as these stay the same.
MODEL_SETTINGS="arch embed-dim hidden-size attn-dim layers dropout lr warmup schedule max-tokens update-freq label-smoothing clip-norm
  precision seed"

# Sets TRAIN_ARGS: all arguments of fairseq-train that shape the model. Those of the machine are in train_model.
set_train_args() {
  local criterion=label_smoothed_cross_entropy shared=--share-decoder-input-output-embed
  if [ "$opt_joint_vocab" -gt 0 ]; then shared=--share-all-embeddings; fi
  local dropouts=()
  case $opt_arch in
    attn_rnn_s2s*)
      criterion=attn_label_smoothed_cross_entropy
      [ -z "$opt_encoder_dropout_out" ] || dropouts+=(--encoder-dropout-out "$opt_encoder_dropout_out")
      [ -z "$opt_decoder_dropout_readout" ] || dropouts+=(--decoder-dropout-readout "$opt_decoder_dropout_readout")
      ;;
  esac
  TRAIN_ARGS=(
    --arch "$opt_arch" --dropout "$opt_dropout" ${dropouts[@]+"${dropouts[@]}"}
    --encoder-embed-dim "$opt_embed_dim" --encoder-hidden-size "$opt_hidden_size" --encoder-bidirectional
    --encoder-layers "$opt_layers" --decoder-layers "$opt_layers"
    --decoder-embed-dim "$opt_embed_dim" --decoder-hidden-size $((2 * opt_hidden_size))
    --decoder-out-embed-dim "$opt_embed_dim" "$shared"
    --task attn_translation --criterion "$criterion" --label-smoothing "$opt_label_smoothing"
    --optimizer adam --clip-norm "$opt_clip_norm"
    --max-tokens "$opt_max_tokens" --update-freq "$opt_update_freq" --seed "$opt_seed"
    --eval-bleu --eval-bleu-tokenizer "$BLEU_TOKENIZER" --eval-bleu-remove-bpe sentencepiece
    --eval-bleu-args '{"beam": 1, "max_len_a": 2, "max_len_b": 10}'
    --best-checkpoint-metric bleu --maximize-best-checkpoint-metric
    --skip-invalid-size-inputs-valid-test
  )
  case $opt_arch in attn_rnn_s2s*) TRAIN_ARGS+=(--attn-dim "$opt_attn_dim") ;; esac
  case $opt_precision in
    fp16) TRAIN_ARGS+=(--fp16) ;;
    bf16) TRAIN_ARGS+=(--bf16) ;;
  esac
  TRAIN_ARGS+=(${EXTRA[@]+"${EXTRA[@]}"})
}

# Sets SCHEDULE_ARGS. They depend on --epochs, and more epochs make no different model: they continue it.
set_schedule_args() {
  SCHEDULE_ARGS=(--warmup-updates "$opt_warmup")
  if [ "$opt_schedule" = inverse_sqrt ]; then
    SCHEDULE_ARGS+=(--lr "$opt_lr" --lr-scheduler inverse_sqrt)
  else
    SCHEDULE_ARGS+=(--lr-scheduler fixed --lr "$(linear_rates "$opt_lr" "$opt_epochs")")
  fi
}

# Arguments of fairseq-generate and fairseq-interactive.
set_search_args() {
  SEARCH_ARGS=(--beam "$opt_beam" --lenpen "$opt_lenpen")
}
