#!/usr/bin/env bash
# make demo: a private server that stays up, with one data set imported. make demo-stop: stops and deletes it.
# DATA=file.csv or a directory with movies.csv and ratings.csv; without it a million ratings are generated.
set -euo pipefail
# As the caller means it, before lib.sh changes the folder.
data=${DATA:+$(realpath "$DATA")}
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"

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

# Prints the files to import, in order.
files() {
    local name
    if [ -d "$1" ]; then
        for name in movies.csv ratings.csv; do
            [ ! -f "$1/$name" ] || say "$1/$name"
        done
    elif [ -f "$1" ]; then
        say "$1"
    fi
}

import() {
    local file=$1 started id status microseconds
    # The server reads the file, not psql.
    if ! "${as_server_user[@]}" test -r "$file"; then
        say "$server_user cannot read $file: importing a copy below $demo"
        mkdir -p "$demo/files"
        cp "$file" "$demo/files/"
        file=$demo/files/$(basename "$file")
        chmod a+r "$file"
    fi
    say
    say "importing $file"
    started=${EPOCHREALTIME/./}
    id=$(sql -At -v file="$file" <<<"SELECT ml_import(:'file')")
    status=$(sql -At <<<"SELECT status FROM ml_wait($id)")
    microseconds=$((${EPOCHREALTIME/./} - started))
    sql <<SQL
\pset footer off
SELECT file_name, status, success_count, error_count, row_count, processing_duration
FROM ingest.uploaded_files WHERE id = $id;
SELECT status AS chunks, count(*), min(end_row - start_row + 1) AS min_rows, max(end_row - start_row + 1) AS max_rows
FROM ingest.process_chunks WHERE uploaded_file_id = $id GROUP BY status;
SQL
    say "elapsed: $((microseconds / 1000)) ms"
    [[ $status == Completed* ]] || failed=1
}

start() {
    local copy list failed=0
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
        step "a million ratings" "$build/demo-data.log" "${as_server_user[@]}" "$top/test/data/generate.pl" "$data"
    fi
    list=$(files "$data")
    if [ -z "$list" ]; then
        say "DATA is neither a file nor a directory with movies.csv or ratings.csv: $data"
        exit 1
    fi
    while read -r file; do
        import "$file"
    done <<<"$list"

    trap - EXIT
    say
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
