#!/usr/bin/env bash
# Trains an attention RNN on Multi30k, English to German, tokenised and lowercase: see --help.
# shellcheck disable=SC2034,SC2154  # opt_* are set and read by name, from the table
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib.sh
source "$ROOT/scripts/lib.sh"
# shellcheck source=scripts/en_zh/settings.sh
source "$ROOT/scripts/en_zh/settings.sh"
# shellcheck source=scripts/en_zh/stages.sh
source "$ROOT/scripts/en_zh/stages.sh"

# The texts are the corpus's; everything else can be set.
OPTIONS="
The corpus
  data | folder | | folder with {train,val,test_2016_flickr,test_2017_flickr}.lc.norm.tok.{en,de}, plain or .gz
  test | flag   | 0 | short for --score-on test: both test sets, for the end, when all settings stand
$(grep -vE '^ *(train|valid|test2?)-(src|tgt) ' <<<"$OPTIONS")
"

# What this recipe changes.
DIFFERENCES='
  work=work/multi30k src-lang=en tgt-lang=de joint-vocab=12000 sp-type=bpe coverage=1 bleu-tokenizer=none epochs=20
  average=1 dropout=0.3 encoder-dropout-out=0.5 decoder-dropout-readout=0.5 compute-dtype=auto score-on=valid
'

# What --smoke changes. Its translations mean nothing.
SMOKE_DIFFERENCES="
  $DIFFERENCES work=work/multi30k_smoke limit=600 joint-vocab=600 embed-dim=32 hidden-size=32 epochs=2 average=2 warmup=10
  beam=2 device=cpu threads=1
"

usage() {
  cat <<'END'
usage: bash examples/multi30k/run.sh --data FOLDER [options] [-- further arguments of fairseq-train]

Trains an attention RNN on the 29,000 captions of Multi30k, English to German, tokenised and lowercase, and scores it on the
validation sentences; with --test, on the test sets of 2016 and 2017 instead. Sets up its own Python environment. Safe to
stop and to start again: what is done is skipped, an interrupted training goes on, a changed setting redoes only what
depends on it.

Its licence keeps the corpus out of this repository: it is the folder data/task1/tok of github.com/multi30k/dataset. With
--smoke and without --data, a few sentences of another corpus stand in for it.
END
  print_options "$OPTIONS" "$DIFFERENCES"
  cat <<'END'

Every option is also an environment variable: --max-tokens is S2S_MAX_TOKENS. The page is examples/multi30k/README.md.
END
}

# Writes files of the corpus's names: English sentences, and their words backwards in place of German.
make_stand_in() {
  opt_data=$ROOT/work/multi30k_smoke/stand-in
  mkdir -p "$opt_data"
  stand_in train train 1 600
  stand_in val valid 1 30
  stand_in test_2016_flickr test 1 30
  stand_in test_2017_flickr test 31 60
}

stand_in() { # split part-of-the-corpus first-line last-line
  local text=$opt_data/$1.lc.norm.tok
  # awk reads to the end, where head would stop gzip with an error.
  gzip -dc "$ROOT/examples/en_zh/data/$2.tsv.gz" | cut -f 1 | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9 ]/ & /g' |
    awk -v first="$3" -v last="$4" 'NR >= first && NR <= last { $1 = $1; print }' >"$text.en"
  awk '{ for (i = NF; i > 0; i--) printf "%s%s", $i, (i > 1 ? " " : "\n") }' "$text.en" >"$text.de"
}

# Sets a variable to the path of a text, which may be packed.
find_text() { # variable split language
  local path=$opt_data/$2.lc.norm.tok.$3
  if [ ! -e "$path" ] && [ -e "$path.gz" ]; then path=$path.gz; fi
  printf -v "$1" '%s' "$path"
}

# Sets the files that the stages read, and FILES to those of them that have to be there.
find_corpus() {
  local place name file
  FILES=()
  for place in train:train valid:val test:test_2016_flickr test2:test_2017_flickr; do
    for name in src tgt; do
      file=opt_${place%:*}_$name
      find_text "$file" "${place#*:}" "$([ "$name" = src ] && echo "$opt_src_lang" || echo "$opt_tgt_lang")"
      case $place-$opt_score_on in
        test*-valid) ;;
        *)
          [ -f "${!file}" ] || die "--data $opt_data: ${!file##*/} is not there, neither plain nor as .gz"
          FILES+=("${!file}")
          ;;
      esac
    done
  done
}

read_options "$DIFFERENCES" "$SMOKE_DIFFERENCES" "$@"
if [ "$opt_test" = 1 ]; then opt_score_on="test"; fi
case $opt_src_lang-$opt_tgt_lang in
  en-de | de-en) ;;
  *) die "--src-lang $opt_src_lang --tgt-lang $opt_tgt_lang: this recipe knows English (en) and German (de)" ;;
esac
stand_in=0
if [ "$opt_smoke" = 1 ] && [ -z "$opt_data" ]; then
  stand_in=1
  make_stand_in
fi
[ -n "$opt_data" ] || die "--data FOLDER is needed: the folder data/task1/tok of https://github.com/multi30k/dataset"
opt_data=$(absolute "$opt_data" "$PWD")
find_corpus

start_recipe "$differences"
[ "$stand_in" = 1 ] || "$PY" scripts/check_files.py examples/multi30k/checksums.sha256 "${FILES[@]}"
test_text_stage
text_stage
teacher_stage
vocabulary_stage
train_stage
model_stage
test_stage
finish
