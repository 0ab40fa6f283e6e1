#!/usr/bin/env bash
# Looks for races and bad addresses in the CUDA kernels, without a GPU: the tests run the kernels' text on a CPU (agents/src/cuda/host.h), here
# compiled for a sanitizer.
#
# usage: scripts/kernel_sanitizers.sh [thread|address] [TEST...]
#        thread (default): ThreadSanitizer, for which the threads of blocks and clusters are threads that only barriers order
#        address: AddressSanitizer, and UndefinedBehaviorSanitizer for alignment, shifts and bounds
# needs: GCC's sanitizers beside c++ (libtsan, libasan), addr2line. All tests take an hour or more, one of plans a minute or two. The exit
#        code is 1 if anything was found or a test failed.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-thread}
shift || true
export RAYON_NUM_THREADS=1 RUST_TEST_THREADS=1
logs=$(mktemp -d)
export TMPDIR=$logs # for what the tests compile
symbols="external_symbolizer_path=$(command -v addr2line) allow_addr2line=1"
case $kind in
thread)
    library=$(c++ -print-file-name=libtsan.so)
    export CXXFLAGS="-fsanitize=thread -g -O1"
    # what Rust's threads do with the same memory cannot be seen
    export TSAN_OPTIONS="ignore_noninstrumented_modules=1 history_size=2 exitcode=0 log_path=$logs/report $symbols"
    ;;
address)
    library=$(c++ -print-file-name=libasan.so)
    export CXXFLAGS="-fsanitize=address,undefined -g -O1"
    export ASAN_OPTIONS="detect_leaks=0 detect_stack_use_after_return=0 log_path=$logs/report $symbols"
    export UBSAN_OPTIONS="print_stacktrace=1 log_path=$logs/report $symbols"
    ;;
*)
    echo "there is no sanitizer called $kind: thread or address" >&2
    exit 2
    ;;
esac

CXXFLAGS='' cargo test --release -p td-koopman-agents --lib --no-run
binary=$(CXXFLAGS='' cargo test --release -p td-koopman-agents --lib --no-run --message-format short 2>&1 |
    sed -n 's/.*(\(.*td_koopman_agents-[0-9a-f]*\))$/\1/p')
tests=("$@")
[ ${#tests[@]} -gt 0 ] || mapfile -t tests < <("$binary" --list inference::cuda::tests learner::fused::tests ops::cuda::tests | sed -n 's/: test$//p')
[ ${#tests[@]} -gt 0 ] || { echo "there are no tests" >&2; exit 1; }
failed=0
for test in "${tests[@]}"; do
    if said=$(LD_PRELOAD=$(realpath "$library") "$binary" --exact "$test") && grep "^test $test " <<<"$said"; then continue; fi
    printf '%s\n%s failed, or there is no such test\n' "$said" "$test" >&2
    failed=1
done
found=$(cat "$logs"/report* 2>/dev/null | grep -v "fully support makecontext" || true)
if [ -n "$found" ]; then
    echo "$found"
    echo "the lines are those of files in $logs"
    exit 1
fi
rm -rf "$logs"
[ $failed = 0 ] && echo "nothing found by $kind in ${#tests[@]} tests"
exit $failed
