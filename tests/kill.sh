#!/usr/bin/env bash
# Kills runs of chapters 2, 4 and 6 with SIGKILL at random moments and begins them again; in every third round two
# runs share the store and the folder of the book. What is there when the chapters have come to their end must be what
# runs that nobody disturbed leave: ids and texts to the letter, numbers to the rounding that other batches bring, and so
# must the verdicts; no process may outlive its run.
#
#     tests/kill.sh [KILLS] [SEED]
#
# Linux only, no part of `make test`: fifty kills take about twenty minutes on two cores.
set -u
cd "$(dirname "$0")/.."
kills=${1:-50}
RANDOM=${2:-19}
chapters=(02 04 06)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$PWD OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1

run() {  # chapter, folder of store and book, mark: one run, known by a mark that all its processes inherit
    KILL_MARK=$3 exec .venv/bin/predact run --only "$1" --scale classroom --store "$2/store" --out "$2/out"
}

processes() {  # mark: the processes of a run, the first one first
    grep -lzsx "KILL_MARK=$1" /proc/[0-9]*/environ | cut -d/ -f3 | sort -n
}

doze() { sleep "$(bc <<<"scale=1; $1 / 10")"; }  # tenths of a second

kill_one() {  # mark, number of its first process: kill that one, or in a third of all cases one that it has started
    local all victim=$2
    mapfile -t all < <(processes "$1")
    ((RANDOM % 3 || ${#all[@]} == 0)) || victim=${all[RANDOM % ${#all[@]}]}
    kill -9 "$victim" 2>/dev/null || return
    ((done += 1))
    kill -9 "$2" 2>/dev/null  # the rest of the run must see to its own end
    wait "$2" 2>/dev/null
}

bury() {  # mark: count and end what has outlived a run
    local left
    for _ in {1..75}; do
        [[ -z $(processes "$1") ]] && return
        sleep 0.2
    done
    left=$(processes "$1")
    echo "left behind: $(ps -o args= -p "${left//$'\n'/,}")"
    ((orphans += $(wc -w <<<"$left")))
    xargs kill -9 <<<"$left"
}

end() {  # chapter, folder: run it to its end
    local began=$SECONDS
    if (run "$1" "$2" "end of $1") >"$work/log" 2>&1; then
        echo "chapter $1 has come to its end in $((SECONDS - began)) s"
    else
        echo "chapter $1 has failed: $(tail -n 3 "$work/log")"
        ((broken += 1))
    fi
    bury "end of $1"
}

compare() {  # folder: end the chapters, compare with the undisturbed ones, and begin with nothing again
    for chapter in "${chapters[@]}"; do end "$chapter" "$1"; done
    PYTHONPATH=$PWD:tests .venv/bin/python - "$work/whole" "$1" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
from alike import alike, names

from predact.build import execute

whole, other = map(Path, sys.argv[1:])


def agree(first, second):
    close = all(np.isclose(first[end] or 0, second[end] or 0, atol=1e-3) for end in ("estimate", "low", "high"))
    return close and [first[key] for key in ("id", "protocol", "verdict", "n")] == [
        second[key] for key in ("id", "protocol", "verdict", "n")
    ]


expected, found = names(whole / "store"), names(other / "store")
wrong = sorted(expected ^ found) + [
    name for name in sorted(expected & found) if not alike(whole / "store" / name, other / "store" / name)
]
told = [execute.verdicts(sorted((folder / "out/notebooks").glob("*.ipynb"))) for folder in (whole, other)]
wrong += [] if len(told[0]) == len(told[1]) and all(map(agree, *told)) else ["verdicts"]
print(f"{len(expected)} results and {len(told[0])} verdicts compared, different are {wrong or 'none'}")
sys.exit(min(len(wrong), 100))
PYTHON
    ((wrong += $?))
    ((wrong + broken)) || survivors=$done
    ended=()
    rm -rf "$1"
}

done=0 survivors=0 wrong=0 orphans=0 broken=0 round=0 ended=()
for chapter in "${chapters[@]}"; do
    began=$SECONDS
    end "$chapter" "$work/whole"
    most[10#$chapter]=$(((SECONDS - began) * 7))  # tenths of a second until the kill, at most
    ((most[10#$chapter] > 240)) && most[10#$chapter]=240
done
while ((done < kills && broken == 0)); do
    chapter=${chapters[round % 3]} before=$done
    ((round += 1))
    [[ " ${ended[*]-} " == *" $chapter "* ]] && continue
    (run "$chapter" "$work/killed" "a $round") >"$work/log a" 2>&1 &
    first=$!
    if ((round % 9 >= 6)); then  # each chapter in its turn has a second writer
        (run "$chapter" "$work/killed" "b $round") >"$work/log b" 2>&1 &
        second=$!
        doze $((RANDOM % most[10#$chapter]))
        kill_one "b $round" $second
    fi
    doze $((10 + RANDOM % most[10#$chapter]))
    kill_one "a $round" $first
    bury "a $round"
    bury "b $round"
    echo "round $round, chapter $chapter: $done kills"
    if ((done == before)); then  # it was faster: it must have come to a good end
        wait "$first" || { ((broken += 1)); tail -n 3 "$work/log a"; }
        ended+=("$chapter")
    fi
    ((${#ended[@]} < ${#chapters[@]})) || compare "$work/killed"
done
compare "$work/killed"
echo "kills $done, survived $survivors, runs that failed $broken, wrong results $wrong, processes left behind $orphans"
((wrong + orphans + broken == 0))
