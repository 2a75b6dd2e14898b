#!/usr/bin/env bash
# Says which options of a kernel configuration fragment the kernel's own configuration has not taken: Kconfig drops
# unknown or unmet ones without a word.
#
# check-config.sh FRAGMENT CONFIG
set -eu

fragment=$1
config=$2
lost=0
while IFS= read -r line; do
	case $line in
	CONFIG_*)
		if ! grep -qxF -- "$line" "$config"; then
			echo "$fragment: $line was not taken" >&2
			lost=1
		fi
		;;
	"# CONFIG_"*" is not set")
		name=${line#\# }
		if grep -q "^${name%% *}=" "$config"; then
			echo "$fragment: ${name%% *} is on all the same" >&2
			lost=1
		fi
		;;
	esac
done <"$fragment"
exit "$lost"
