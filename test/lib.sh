# shellcheck shell=bash
# Shared by the scripts in this folder: where things are, who runs servers, the private PostgreSQL.

# Everything below is written for other users to read: the servers' user is not the caller.
umask 022
# LANG too: PostgreSQL::Test removes LC_ALL, and its clusters have the encoding of what is left.
export LC_ALL=C.UTF-8 LANG=C.UTF-8

# Where the PostgreSQL is that is tested: its pg_config. The host's own unless test/versions/on names another.
default_major=15
tested_pg_config=${MOVIELENS_INGEST_PG_CONFIG:-/usr/lib/postgresql/$default_major/bin/pg_config}
# And the packages for that, as test/setup.sh names them.
needs='test'
[ -z "${MOVIELENS_INGEST_PG_CONFIG:-}" ] || needs=installation

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=$top/build
bindir=$build/pg${tested_pg_config%/pg_config}
jobs=$(nproc)

# A folder that the servers' user may enter, or its programs complain.
cd "$top" || exit

# Nothing of the caller's may reach the private servers, nor a surrounding make our own.
unset "${!PG@}" TMPDIR MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES DESTDIR

mkdir -p "$build"

say() { printf '%s\n' "$*"; }

# step TITLE LOG COMMAND...: one line on the terminal, the output into the log, its end on failure.
step() {
    local title=$1 log=$2 from=$SECONDS
    shift 2
    mkdir -p "$(dirname "$log")"
    if "$@" >"$log" 2>&1 </dev/null; then
        say "$title: done ($((SECONDS - from)) s)"
    else
        say "$title: FAILED, the end of $log:"
        tail -n 40 "$log" | cut -c -400
        return 1
    fi
}

# PostgreSQL refuses to run as root, so root lends its servers to an ordinary user. An array, not a function:
# what is started with it in the background has the pid that $! says.
if [ "$(id -u)" = 0 ]; then
    server_user=nobody
    server_group=$(id -gn $server_user)
    as_server_user=(setpriv "--reuid=$server_user" "--regid=$server_group" --clear-groups
        env "HOME=$build/run" "USER=$server_user" "LOGNAME=$server_user")
else
    server_user=$(id -un)
    server_group=$(id -gn)
    as_server_user=(env "HOME=$build/run")
fi

# server_folder DIR: an empty folder that the servers' user owns.
server_folder() {
    rm -rf "$1"
    mkdir -p "$1"
    chown "$server_user:$server_group" "$1"
}

# Can the servers' user read all that the tests read?
reachable() {
    local unread
    unread=$("${as_server_user[@]}" find "$top" -path "$build/*" -prune -o -path "$top/.git" -prune -o ! -readable -print -quit 2>&1) &&
        [ -z "$unread" ]
}

# copy_sources DIR: what this clone has, without what was built, into DIR, for everybody to read.
copy_sources() {
    tar -C "$top" --exclude=./build --exclude=./.git --exclude='*.o' --exclude='*.d' --exclude='*.so' -cf - . |
        tar -C "$1" --no-same-owner -xf -
    find "$1" -path "$1/build" -prune -o -exec chmod a+rX {} +
}

# Prints the path of a fresh copy of this clone that everybody can read.
copy_of_clone() {
    local copy
    copy=$(mktemp -d -p /var/tmp)
    copy_sources "$copy"
    printf '%s\n' "$copy"
}

# files_of_server FOLDER...: what a private copy of the tested PostgreSQL needs, each with its whole path. Where all programs
# of a system share one folder, only PostgreSQL's are wanted.
files_of_server() {
    local folder program
    for program in "$1"/{postgres,initdb,psql,ecpg,pgbench,pg_*,{create,drop}{db,user},{vacuum,reindex,cluster}db}; do
        [ ! -e "$program" ] || printf '%s\n' "${program#/}"
    done
    shift
    for folder in "$@"; do
        printf '%s\n' "${folder#/}"
    done
}

# Where the tested PostgreSQL keeps what its private copy needs, but for programs.
folders_of_server() {
    local asked
    for asked in pkglibdir sharedir pkgincludedir includedir-server; do
        "$tested_pg_config" --$asked || return
    done
}

# What says whether a private copy is still that of the tested PostgreSQL.
tested_build() {
    local programs=${tested_pg_config%/pg_config} folders
    readarray -t folders < <(folders_of_server)
    "$tested_pg_config" --version && stat -L -c '%n %s %Y' "$programs"/{postgres,psql} &&
        find "${folders[@]}" -type f -printf '%p %s %T@\n' | LC_ALL=C sort | cksum
}

# A private copy of the tested PostgreSQL. Its programs find each other by relative position, so the copied
# pg_config reports the copy's folders, and `make install` into it changes no file of the original.
# Sets pgxs_test, where pg_regress and PostgreSQL::Test are.
private_tree() {
    local version asked folders=() stamp=$build/pg/version
    version=$(tested_build) || return
    if [ "$(cat "$stamp" 2>/dev/null)" != "$version" ]; then
        rm -rf "$build/pg"
        mkdir -p "$build/pg"
        readarray -t folders < <(folders_of_server)
        files_of_server "${tested_pg_config%/pg_config}" "${folders[@]}" >"$build/pg/files"
        # Bitcode is for inlining by JIT, which nothing here uses, and is most of the bytes.
        tar -C / --exclude='*/bitcode' --files-from="$build/pg/files" -cf - | tar -C "$build/pg" --no-same-owner -xf -
        for asked in pkglibdir sharedir includedir-server; do
            case $("$bindir/pg_config" --$asked) in
            "$build/pg/"*) ;;
            *)
                say "this PostgreSQL does not go on from another place: its copied pg_config reports a $asked outside the copy"
                return 1
                ;;
            esac
        done
        if ! "${as_server_user[@]}" "$bindir/psql" --version || ! "${as_server_user[@]}" "$bindir/postgres" --version; then
            say "$server_user cannot run the copied programs of this PostgreSQL: libraries that they need are not where all can read them"
            return 1
        fi
        say "$version" >"$stamp"
    fi
    # It ends in src/makefiles/pgxs.mk.
    pgxs_test=$(dirname "$(dirname "$("$bindir/pg_config" --pgxs)")")/test
    for asked in regress/pg_regress isolation/pg_isolation_regress perl/PostgreSQL/Test/Cluster.pm; do
        [ -e "$pgxs_test/$asked" ] || {
            say "this PostgreSQL comes without $(basename "$asked") of its src/test: install the development package, or" \
                "configure with --enable-tap-tests and install the server with all that belongs to PGXS"
            return 1
        }
    done
}

# tap_environment DIR PORTS: sets the array tap_env, with which env runs a program of tests that uses PostgreSQL::Test.
# Its output goes below DIR; ports are reserved in PORTS.
tap_environment() {
    # Up to 15 by TESTDIR, later by the other two.
    # shellcheck disable=SC2034 # for the scripts that run such programs
    tap_env=("PATH=$bindir:$PATH" "PERL5LIB=$pgxs_test/perl:$top/test/t" "PG_REGRESS=$pgxs_test/regress/pg_regress" PGPORT=65432
        "TESTDIR=$1" "TESTDATADIR=$1/tmp_check" "TESTLOGDIR=$1/tmp_check/log" "PG_TEST_PORT_DIR=$2")
}

# Builds the extension and installs it into the private tree.
install_privately() {
    make -C "$top" -j"$jobs" ${CXX:+CXX="$CXX"} PG_CONFIG="$bindir/pg_config" install
}

# start_server DIR [SETTING...]: a server of our own in DIR; only a socket in a folder that nobody else may
# enter leads to it. Sets PGHOST, PGPORT, PGUSER for its clients, and `server` to DIR.
start_server() {
    local dir=$1 setting
    shift
    server_folder "$dir"
    # The name of a socket may have 107 bytes: not below build/, however deep the clone is.
    PGHOST=$("${as_server_user[@]}" mktemp -d -p /tmp)
    export PGHOST PGPORT=54329 PGUSER=postgres
    "${as_server_user[@]}" "$bindir/initdb" --pgdata="$dir/data" --username=$PGUSER --auth=trust --encoding=UTF8 \
        --no-locale --no-sync || return
    for setting in "listen_addresses = ''" "unix_socket_directories = '$PGHOST'" "port = $PGPORT" \
        "max_worker_processes = 8" "log_line_prefix = '%m [%p] %b %q%a '" "$@"; do
        say "$setting"
    done | "${as_server_user[@]}" tee -a "$dir/data/postgresql.conf" >/dev/null
    server=$dir
    "${as_server_user[@]}" "$bindir/pg_ctl" --pgdata="$dir/data" --log="$dir/server.log" --wait start
}

# stop_server [MODE]: stops the server that start_server started, if there is one.
stop_server() {
    [ -n "${server:-}" ] || return 0
    local dir=$server
    server=
    "${as_server_user[@]}" "$bindir/pg_ctl" --pgdata="$dir/data" --mode="${1:-fast}" --timeout=60 --wait stop || return
    rm -rf "$PGHOST"
}

# ready_to_run DIR: what a program of tests needs that is not part of `make test`: packages, the private PostgreSQL with the
# extension, and an empty folder for its servers. From a clone that the servers' user cannot read it goes on in a copy.
ready_to_run() {
    local dir=$1 copy
    "$top/test/setup.sh" $needs
    if ! reachable; then
        copy=$(copy_of_clone)
        say "$server_user cannot read all of $top: going on in a copy, $copy, which stays if a test fails"
        "$copy/test/$(basename "$0")" || exit
        rm -rf "$copy"
        exit
    fi
    step "private PostgreSQL" "$build/private.log" private_tree
    step "extension" "$build/extension.log" install_privately
    mkdir -p "$build/run"
    chown "$server_user:$server_group" "$build/run"
    server_folder "$dir"
    mkdir -p "$dir/ports"
    chown "$server_user:$server_group" "$dir/ports"
}
