# Base, SFT, rankings and reward with two threads, then the runs two at a time with one thread each.
export PYTHONPATH=$CODE GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=100000000000
stage() { OMP_NUM_THREADS=$1 $PY -u -m predact.recipe.recipe --scale full --stage $2 --out $MADE > $MADE/log.$2 2>&1; }
stage 2 base; stage 2 sft; stage 2 reward
( stage 1 rlhf-seed0; stage 1 rlhf-seed2; stage 1 dpo ) &
( stage 1 rlhf-seed1; stage 1 rlhf-true ) &
wait
