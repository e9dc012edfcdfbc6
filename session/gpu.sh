# The same on a GPU; the runs side by side. Needs pydantic beside torch, transformers, peft, pandas, typer, numba.
set -e
export PYTHONPATH=$CODE PYTHONUNBUFFERED=1 OMP_NUM_THREADS=2 TOKENIZERS_PARALLELISM=false
go() { $PY -m predact.recipe.recipe --scale full --stage $1 --out $MADE > $MADE/log.$1 2>&1; }
go base; go sft; go reward
for run in rlhf-seed0 rlhf-seed1 rlhf-seed2 rlhf-true dpo; do go $run & done; wait
tail -n 3 $MADE/log.*
