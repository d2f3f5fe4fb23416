#!/usr/bin/env bash
# All settings of the summarization recipe, in one place: those of the translation recipe, and what is different. Sourced
# by examples/summarization/run.sh, after scripts/en_zh/settings.sh.
# shellcheck disable=SC2034,SC2154  # used by the scripts that source this; opt_* are set by name, from the table

# The texts are the corpus's; everything else can be set.
OPTIONS="
The corpus
  data       | folder | | folder with {train,valid,test}.tsv, plain or .gz: columns package, synopsis, description
  any-data   | flag   | 0 | tables of your own: no checksums
  lead-words | count  | 100 | words of a description that are read; 0 for all
  with-name  | flag   | 1 | the package's name and a colon stand before the description; --with-name=0 for not
  test       | flag   | 0 | short for --score-on test: for the end, when all settings stand
What is compared
  system     | choice:plain,copy,coverage | coverage | plain attention; copying; coverage of the attention beside copying
  coverage-lambda | number | 1 | weight of the coverage loss, with --system coverage
Length and repetition of summaries, in pieces
  min-len    | int    | 1 | the least
  max-len-a  | number | 0 | at most so many for each piece of the description,
  max-len-b  | count  | 60 | and so many more
  no-repeat-ngram-size | count | 0 | runs of so many pieces that no summary says twice; 0: anything goes
$(grep -vE '^ *((train|valid|test2?)-(src|tgt)|src-lang|tgt-lang|bleu-tokenizer|teacher|teach) ' <<<"$OPTIONS")
"
opt_src_lang=doc opt_tgt_lang=sum opt_bleu_tokenizer=13a opt_teacher="" opt_teach=beside
MODEL_SETTINGS="$MODEL_SETTINGS system coverage-lambda"

# What this recipe changes.
DIFFERENCES='
  work=work/summarization joint-vocab=8000 sp-type=bpe epochs=4 average=1 dropout=0.3 lr=3e-3 max-tokens=6000
  max-length=400 lenpen=1 compute-dtype=auto score-on=valid
'

# What --smoke changes. Its summaries mean nothing.
SMOKE_DIFFERENCES="
  $DIFFERENCES work=work/summarization_smoke limit=400 joint-vocab=1000 embed-dim=32 hidden-size=32 attn-dim=32 epochs=2
  average=2 warmup=10 beam=2 lead-words=30 max-len-b=20 device=cpu threads=1
"
