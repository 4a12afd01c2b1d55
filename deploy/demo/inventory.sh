#!/bin/sh
# Writes what kind of host this is to the file named by the first argument: one `name: value` a line.
set -eu

out=$1
part=$out.part

{
    echo "hostname: $(uname -n)"
    echo "kernel: $(uname -sr)"
    echo "machine: $(uname -m)"
    echo "os: $(. /etc/os-release && echo "$PRETTY_NAME")"
    echo "cpus: $(getconf _NPROCESSORS_ONLN)"
    echo "memory_kib: $(while read -r name value _; do
        if [ "$name" = MemTotal: ]; then echo "$value"; fi
    done < /proc/meminfo)"
    echo "packages: $(dpkg-query --show --showformat '.\n' | wc -l)"
} > "$part"
mv "$part" "$out"
