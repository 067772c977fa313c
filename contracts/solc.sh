#!/bin/sh
# The compiler as forge wants it: the one from npm, without the remarks that it mixes into its answer.
# Question and answer go through files: node reads and writes pipes only in part when the other side is slow.
set -eu
solc=$(dirname "$0")/node_modules/solc/solc.js
if [ "${1:-}" = --version ]; then
    echo "solc, the solidity compiler"
    echo "Version: $(node "$solc" --version)"
    exit
fi
talk=$(mktemp -d)
trap 'rm -rf "$talk"' EXIT
cat >"$talk/question"
node "$solc" --standard-json <"$talk/question" >"$talk/answer"
sed '/^>>>/d' "$talk/answer"
