#!/usr/bin/env bash
# What a refused record costs, by the reason that it is refused for and by how many there are:
#   rejects.sh [RECORDS [KIND...]]     RECORDS in a file, 200000 unless given; every kind unless some are named
# On a private server with the tuned configuration of test/bench. For each kind: microseconds that a clean record takes, then
# for each share of bad ones the time of the import, the microseconds that a bad record takes (the import's time without
# that of the clean ones), and the most private memory that a process of the import had.
set -euo pipefail

# shellcheck source=test/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=test/bench/configurations.sh
. "$top/test/bench/configurations.sh"

records=${1:-200000}
shift || :
kinds=("$@")
[ ${#kinds[@]} -gt 0 ] ||
    kinds=(form number date not_null check unique_table unique_file foreign_key before_trigger after_trigger policy)
shares=(0.001 0.01 0.5 1)

# define_kind KIND: sets what the kind's table is made by, and the record, good or bad, as Perl of its number $i.
# shellcheck disable=SC2016
define_kind() {
    good='"$i,x\n"' extra=
    case $1 in
    form) table='(id integer, v text)' bad='"$i,x,y\n"' ;;
    number) table='(id integer, v text)' bad='"x$i,x\n"' ;;
    date) table='(id integer, v date)' good='"$i,2020-02-03\n"' bad='"$i,yesteryear\n"' ;;
    not_null) table='(id integer, v text NOT NULL)' bad='"$i,\n"' ;;
    check) table="(id integer, v text CHECK (v <> 'y'))" bad='"$i,y\n"' ;;
    unique_table) table='(id integer PRIMARY KEY, v text)' extra="INSERT INTO t VALUES (-1)" bad='"-1,x\n"' ;;
    unique_file) table='(id integer PRIMARY KEY, v text)' bad='($share < 1 ? $i - 1 : 0) . ",x\n"' ;;
    foreign_key) table='(id integer, v integer REFERENCES p)' good='"$i," . $i % 1000 . "\n"'
        bad='"$i," . (1000 + $i) . "\n"' ;;
    before_trigger) table='(id integer, v text)' bad='"$i,y\n"' extra="CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse()" ;;
    after_trigger) table='(id integer, v text)' bad='"$i,y\n"' extra="CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse()" ;;
    policy) table='(id integer, v text)' bad='"$i,y\n"' extra="ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY t ON t WITH CHECK (v <> 'y')" ;;
    *)
        say "unknown kind: $1"
        return 1
        ;;
    esac
}

# generate SHARE FILE: the records, the bad ones evenly among them.
generate() {
    perl -we '
        my ($records, $share, $good, $bad) = @ARGV;
        my $write = eval "sub { my (\$i, \$bad) = \@_; print \$bad ? $bad : $good }" or die $@;
        print "id,v\n";
        $write->($_, int($_ * $share) > int(($_ - 1) * $share)) for 1 .. $records;
    ' "$records" "$1" "$good" "$bad" >"$2"
}

run_sql() { psql -XqAt -v ON_ERROR_STOP=1 -d postgres "$@"; }

# The most private memory, in MB, of the processes that load, until the file $1 is there.
watch_memory() {
    local most=0 now pid
    until [ -e "$1" ]; do
        for pid in $(pgrep -f 'postgres: movielens_ingest (leader|worker)' || :); do
            now=$(awk '/^RssAnon/ { print int($2 / 1024) }' "/proc/$pid/status" 2>/dev/null || echo 0)
            ((${now:-0} <= most)) || most=$now
        done
        sleep 0.2
    done
    echo "$most"
}

# import KIND SHARE: prints seconds, refused records and the most private memory.
import() {
    local file=$dir/t.csv ended=$dir/ended id seconds memory
    generate "$2" "$file"
    PGOPTIONS='-c client_min_messages=warning' run_sql -c "DROP TABLE IF EXISTS t" -c "CREATE TABLE t $table" -c "${extra:-SELECT}" -c 'ALTER TABLE t OWNER TO loader' -c CHECKPOINT >/dev/null
    rm -f "$ended"
    watch_memory "$ended" >"$dir/memory" &
    id=$(run_sql -c "SET ROLE loader" -c "SELECT ml_import('$file', 't', force => true)")
    seconds=$(run_sql -F ' ' -c "SELECT extract(epoch FROM processing_duration), error_count, status FROM ml_wait($id)")
    touch "$ended"
    wait $!
    memory=$(cat "$dir/memory")
    echo "$seconds $memory"
}

step "private PostgreSQL" "$build/bench/pg.log" private_tree
step "extension" "$build/bench/install.log" install_privately
dir=$build/bench/rejects
server_folder "$dir"
trap 'stop_server immediate' EXIT
step "server" "$build/bench/server.log" start_server "$build/bench/server" "${tuned[@]}"
run_sql <<'SQL' >/dev/null
CREATE EXTENSION movielens_ingest;
CREATE ROLE loader;
GRANT pg_read_server_files TO loader;
GRANT CREATE ON SCHEMA public TO loader;
CREATE TABLE p (id integer PRIMARY KEY);
GRANT ALL ON p TO loader;
INSERT INTO p SELECT generate_series(0, 999);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.v = 'y' THEN
        RAISE EXCEPTION 'refused by a trigger';
    END IF;
    RETURN NEW;
END
$$;
SQL

printf '%d records in a file, %d processors\n\n' "$records" "$(nproc)"
printf '%-15s %6s %9s %9s %10s %10s %7s\n' kind bad seconds refused us/clean us/bad MB
for kind in "${kinds[@]}"; do
    define_kind "$kind"
    clean=
    for share in 0 "${shares[@]}"; do
        read -r seconds refused status memory < <(import "$kind" "$share" | sed 's/Completed with errors/Completed/')
        [ "$status" = Completed ]
        [ -n "$clean" ] || clean=$seconds
        awk -v kind="$kind" -v share="$share" -v s="$seconds" -v r="$refused" -v c="$clean" -v n="$records" -v m="$memory" 'BEGIN {
            printf "%-15s %5.1f%% %9.2f %9d %10.2f %10s %7d\n", kind, 100 * share, s, r, 1e6 * c / n,
                (r > 0 ? sprintf("%.1f", 1e6 * (s - c * (n - r) / n) / r) : "-"), m
        }'
    done
done
