# shellcheck shell=bash
# The servers that test/bench measures on, sourced after test/lib.sh: settings for start_server.
# Autovacuum is off in all of them: when it comes is not what is measured.

memory_mb=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
# at_most MB FRACTION: not more than this part of the memory that the machine has.
at_most() { echo "$(($1 < memory_mb / $2 ? $1 : memory_mb / $2))MB"; }

# What a DBA would set before loading much, with nothing that weakens durability.
# shellcheck disable=SC2034
tuned=("shared_buffers = $(at_most 2048 4)" "maintenance_work_mem = $(at_most 1024 16)" "wal_buffers = 64MB"
    "max_wal_size = 16GB" "min_wal_size = 4GB" "checkpoint_timeout = 30min" "autovacuum = off")
# The same, and measure.pl has another table fill the cache: a server that has run for a while.
# shellcheck disable=SC2034
full=("${tuned[@]}")
# shellcheck disable=SC2034
initdb=("autovacuum = off")
