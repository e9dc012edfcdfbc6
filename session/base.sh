# The rest of Base: 1.1 to 1.3 s a step on two cores without AVX512, 1,000 steps a round. The allocator keeps its memory.
export PYTHONPATH=$CODE OMP_NUM_THREADS=2 GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=100000000000
exec $PY -u -m predact.recipe.recipe --scale full --stage base --out $MADE > $MADE/log.base 2>&1
