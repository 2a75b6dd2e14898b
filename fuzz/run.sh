#!/usr/bin/env bash
# Builds one fuzz target with coverage feedback on the stable toolchain and runs it: fuzz/run.sh TARGET [libFuzzer options].
# cargo-fuzz on nightly adds the address sanitizer; in a crate without unsafe code it has little to find.
set -eu
cd "$(dirname "$0")"
target=$1
shift
triple=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do flags+=" -Cllvm-args=-sanitizer-coverage-$option"; done
RUSTFLAGS="$flags -Ccodegen-units=1" cargo build --release --target "$triple" --bin "$target"
mkdir -p "corpus/$target" artifacts
exec "target/$triple/release/$target" "corpus/$target" -artifact_prefix=artifacts/ -max_len=20000 "$@"
