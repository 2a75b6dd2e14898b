#!/usr/bin/env bash
# Runs when the root file system is complete and before it is packed: refuses a kernel that lost an option, and takes
# away what a read-only box must not have.
set -eu

external=$BR2_EXTERNAL_PERCH_PATH
config=$(find "$BUILD_DIR" -maxdepth 2 -path '*/linux-[0-9a-f]*/.config' | sort | head -n 1)
case $(sed -n 's/^BR2_LINUX_KERNEL_DEFCONFIG="\(.*\)"$/\1/p' "$BR2_CONFIG") in
bcm2711) fragment=$external/linux/rpi.fragment ;;
*) fragment=$external/linux/mainline.fragment ;;
esac
"$external/linux/check-config.sh" "$fragment" "$config"

# Start scripts of packages: /etc/inittab and perch-appliance start all that there is.
rm -rf "$TARGET_DIR"/etc/init.d/[SK]* "$TARGET_DIR"/etc/network
