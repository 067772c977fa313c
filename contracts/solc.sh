#!/bin/sh
# The compiler as forge wants it: the one from npm, without the remarks that it mixes into its answer.
# The answer goes through a file, since node cuts off what a pipe does not take at once.
set -eu
solc=$(dirname "$0")/node_modules/solc/solc.js
if [ "${1:-}" = --version ]; then
    echo "solc, the solidity compiler"
    echo "Version: $(node "$solc" --version)"
    exit
fi
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
node "$solc" --standard-json >"$answer"
sed '/^>>>/d' "$answer"
