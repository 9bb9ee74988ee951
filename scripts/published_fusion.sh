#!/usr/bin/env bash
# Fuse score files that others published, by rules fixed in advance, and write what each gets right.
#
#   bash scripts/published_fusion.sh SCORES_DIR OUT.csv
#
# SCORES_DIR holds coviar/, hidden_two_stream/, ltc_idt/ and splits/ as their authors publish them.
# OUT.csv has rows dataset,split,rule,accuracy (top-1 in percent), of single files too. Set TRAJFUSE to
# a command that takes what follows "trajfuse compare", such as 'python -m compare', to make no
# environment.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

[ $# -eq 2 ] || fail "usage: bash scripts/published_fusion.sh SCORES_DIR OUT.csv"
SCORES=$(cd "$1" && pwd -P)
OUT=$2
if [ -z "${TRAJFUSE:-}" ]; then
    ensure_environment pretrained
    TRAJFUSE="$VENV/bin/trajfuse compare"
fi
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

trajfuse() {
    local command=$1
    shift
    $TRAJFUSE "$command" "$@" --csv "$WORK/rows-$((rows += 1)).csv" >&2
}
rows=1000 # names of the files of rows sort in the order in which they are made

# import_idt DATASET NAME SPLIT LIST TOLERANT
import_idt() {
    trajfuse import "$SCORES/ltc_idt/$2_idt_split$3.mat" --kind decision --method idt \
        --dataset "${1^^}" --split "$3" --list "$4" --list-split "$3" --tolerant "$5" \
        --out "$WORK/$1-$3-idt.npz"
}

# import_coviar DATASET SPLIT LIST TOLERANT
import_coviar() {
    local stream
    for stream in iframe mv residual flow; do
        trajfuse import "$SCORES/coviar/$1/$stream/split$2/${stream}_score_model_best.npz" \
            --kind logit --method "$stream" --dataset "${1^^}" --split "$2" \
            --list "$3" --list-split "$2" --tolerant "$4" --out "$WORK/$1-$2-$stream.npz"
    done
}

# fuse_coviar DATASET SPLIT LIST
fuse_coviar() {
    trajfuse fuse "$WORK/$1-$2-"{iframe,mv,residual,flow,idt}.npz --dataset "${1^^}" \
        --list "$3" --list-split "$2" \
        --rule 'coviar=weighted@none:2*iframe+1*mv+1*residual' \
        --rule 'coviar+idt=weighted@l2:0.75*coviar+0.25*idt' \
        --rule 'coviar-flow=weighted@none:2*iframe+1*mv+1*residual+1*flow' \
        --rule 'coviar-flow+idt=weighted@l2:0.75*coviar-flow+0.25*idt'
}

UCF=$SCORES/splits/ucf101
HMDB=$SCORES/splits/hmdb51
for split in 1 2 3; do
    import_idt ucf101 ucf "$split" "$UCF" folder,extension,case
    import_idt hmdb51 hmdb "$split" "$HMDB" folder,extension
    import_coviar hmdb51 "$split" "$HMDB" characters
    fuse_coviar hmdb51 "$split" "$HMDB"
done
import_coviar ucf101 1 "$UCF" case
fuse_coviar ucf101 1 "$UCF"

# Rows of these files have no names: they are in the order of the list beside them.
HIDDEN=$SCORES/hidden_two_stream
for stream in spatial:spatial_quality100 tvl1:temporal_tvl1 motionnet:temporal_hidden; do
    trajfuse import "$HIDDEN/${stream#*:}_split01.mat" --kind logit --method "${stream%%:*}" \
        --dataset UCF101 --split 1 --list "$HIDDEN/testlist01.txt" --classes "$UCF/classInd.txt" \
        --out "$WORK/hidden-${stream%%:*}.npz"
done
trajfuse fuse "$WORK/hidden-"{spatial,tvl1,motionnet}.npz "$WORK/ucf101-1-idt.npz" \
    --tolerant case --list "$UCF" --list-split 1 \
    --rule 'spatial-tvl1=weighted@l1:1*spatial+1.5*tvl1' \
    --rule 'spatial-tvl1+idt=weighted@l2:0.75*spatial-tvl1+0.25*idt' \
    --rule 'spatial-motionnet=weighted@l1:1*spatial+1.5*motionnet' \
    --rule 'spatial-motionnet+idt=weighted@l2:0.75*spatial-motionnet+0.25*idt' \
    --dataset UCF101

{
    echo dataset,split,rule,accuracy
    tail -q -n +2 "$WORK"/rows-*.csv
} >"$WORK/all.csv"
mv "$WORK/all.csv" "$OUT"
say "accuracies: $OUT"
