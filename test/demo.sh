#!/usr/bin/env bash
# make demo: a private server that stays up, with one data set loaded. make demo-stop: stops and deletes it.
# DATA=file.csv or the directory of a MovieLens release; without it a release of a million ratings is generated.
set -euo pipefail
# As the caller means it, before lib.sh changes the folder.
data=${DATA:+$(realpath "$DATA")}
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"
shopt -s nullglob

demo=$build/demo
# Where the demo runs if the servers' user cannot read this clone: a file that names the copy.
elsewhere=$build/demo-copy

stop() {
    local copy
    if [ -f "$elsewhere" ]; then
        copy=$(cat "$elsewhere")
        [ ! -d "$copy" ] || "$copy/test/demo.sh" stop
        rm -rf "$copy" "$elsewhere"
    fi
    [ -d "$demo" ] || return 0
    if [ -f "$demo/data/postmaster.pid" ]; then
        server=$demo
        # The fifth line names the folder of the server's socket.
        PGHOST=$(sed -n 5p "$demo/data/postmaster.pid")
        stop_server fast >/dev/null
        say "the demo's server is stopped"
    fi
    rm -rf "$demo"
}

sql() { "${as_server_user[@]}" "$bindir/psql" -X -q -v ON_ERROR_STOP=1 --dbname=demo "$@"; }

# Can the server's user read this file, or this directory and its CSV files? The server reads them, not psql.
readable() {
    local path
    for path in "$1" "$1"/*.csv; do
        "${as_server_user[@]}" test -r "$path" || return
    done
}

# Replaces `data` by a copy that the server's user can read.
copy_data() {
    local from=$data
    data=$demo/files
    mkdir -p "$data"
    if [ -d "$from" ]; then
        cp "$from"/*.csv "$data/"
    else
        cp "$from" "$data/"
        data=$data/$(basename "$from")
    fi
    chmod -R a+rX "$demo/files"
}

start() {
    local copy failed=0
    if [ -n "$data" ] && [ ! -f "$data" ] && [ -z "$(echo "$data"/*.csv)" ]; then
        say "DATA is neither a file nor a directory with CSV files: $data"
        exit 1
    fi
    stop
    "$top/test/setup.sh" test
    if ! reachable; then
        copy=$(copy_of_clone)
        say "$copy" >"$elsewhere"
        say "$server_user cannot read all of $top: the demo runs in a copy, $copy"
        DATA=$data exec "$copy/test/demo.sh" start
    fi

    trap 'stop_server immediate >/dev/null 2>&1 || true' EXIT
    mkdir -p "$build/run"
    chown "$server_user:$server_group" "$build/run"
    step "private PostgreSQL" "$build/private.log" private_tree
    step "extension" "$build/extension.log" install_privately
    step "server" "$build/demo.log" start_server "$demo" "shared_buffers = 256MB" "max_wal_size = 4GB"
    sql --dbname=postgres <<SQL
CREATE DATABASE demo;
ALTER DATABASE demo SET search_path = public, ingest;
SQL
    sql -o /dev/null <<SQL
CREATE SCHEMA ingest;
CREATE EXTENSION movielens_ingest SCHEMA ingest;
SELECT ml_create_tables('public');
SQL

    if [ -z "$data" ]; then
        data=$demo/files
        "${as_server_user[@]}" mkdir "$data"
        step "a release of a million ratings" "$build/demo-data.log" \
            "${as_server_user[@]}" "$top/test/data/generate.pl" "$data"
    elif ! readable "$data"; then
        say "$server_user cannot read $data: loading a copy below $demo"
        copy_data
    fi
    say
    say "loading $data"
    sql -v path="$data" <<<"CALL ml_load(:'path')" || failed=1
    sql <<SQL
\pset footer off
SELECT file_name, status, success_count, error_count, row_count, processing_duration
FROM ingest.uploaded_files ORDER BY id;
SQL

    trap - EXIT
    [ "$(id -u)" != 0 ] || say "the server runs as the user $server_user; as root or $server_user:"
    say "connect:  $bindir/psql -h $PGHOST -p $PGPORT -U $PGUSER demo"
    say "stop:     make demo-stop"
    return $failed
}

case ${1:-} in
start | stop) "$1" ;;
*)
    say "usage: $0 start|stop" >&2
    exit 2
    ;;
esac
