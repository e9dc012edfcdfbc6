# Commit edition2's tree with this folder and what was made, and let main reach it. Run in main's checkout: MADE, SESSION set.
set -e
T=$(mktemp -d); git worktree add -q --detach $T/w edition2
mkdir -p $T/w/session/made; cp $SESSION/* $T/w/session/
last=$(ls -d $MADE/base-round? | tail -1)
for each in $last $MADE/*.parquet $MADE/base $MADE/sft $MADE/reward $MADE/rlhf* $MADE/dpo; do [ -e $each ] && cp -r $each $T/w/session/made/; done
git -C $T/w add -fA
C=$(git commit-tree $(git -C $T/w write-tree) -m "The second edition and what its recipe has made")
git merge -q -s ours --allow-unrelated-histories -m "Keep the second edition: this merge's second parent, see its session/RESUME.md" $C
git worktree remove --force $T/w
