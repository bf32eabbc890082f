# What an import maintains for its caller the caller may maintain itself: for each role, by whatever right it has it, ANALYZE at
# the end, indexes that are put off, SHARE on a referenced table are what ANALYZE, REINDEX and LOCK TABLE of the same server
# allow it. MAINTAIN and pg_maintain are of 17, WITH INHERIT and SET of 16.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', 'movielens_ingest.defer_indexes = on', 'autovacuum = off');
my $path = write_file('numbers.csv', "id,name,parent\n" . join('', map { "$_,name $_," . $_ % 10 . "\n" } 1 .. 60));
my $options = 'chunk_size => 10, min_chunks => 1, max_workers => 2, force => true';

sub sql { my ($sql, @role) = @_; return $node->safe_psql('postgres', $sql, extra_params => [ map { ('-U', $_) } @role ]) }

my $major = int(sql('SHOW server_version_num') / 10000);
sql(q(
	CREATE ROLE keeper LOGIN; CREATE ROLE between NOINHERIT IN ROLE keeper;
	CREATE FUNCTION maker() RETURNS void LANGUAGE plpgsql AS $$BEGIN
		SET LOCAL client_min_messages = warning;
		DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS parent;
		CREATE TABLE parent (id integer PRIMARY KEY);
		INSERT INTO parent SELECT generate_series(0, 9);
		CREATE TABLE t (id integer, name varchar(20), parent integer REFERENCES parent);
		CREATE INDEX by_id ON t (id); CREATE INDEX by_name ON t USING hash (id);
		ALTER TABLE parent OWNER TO keeper; ALTER TABLE t OWNER TO keeper;
	END$$));

my @roles = (
	[ 'owner', 'IN ROLE keeper', '' ],
	[ 'noinherit', 'IN ROLE between', '' ],
	[ 'inserter', '', '' ],
	[ 'updater', '', 'GRANT UPDATE, DELETE ON t, parent TO updater' ],
	[ 'truncater', '', 'GRANT TRUNCATE ON t, parent TO truncater' ],
	[ 'super', 'SUPERUSER', '' ]);
if ($major >= 16)
{
	push @roles, [ 'without', '', 'GRANT keeper TO without WITH INHERIT FALSE, SET TRUE' ], [ 'noset', '', 'GRANT keeper TO noset WITH INHERIT TRUE, SET FALSE' ];
}
if ($major >= 17)
{
	push @roles, [ 'maintainer', '', 'GRANT MAINTAIN ON t, parent TO maintainer' ], [ 'half', '', 'GRANT MAINTAIN ON t TO half' ],
	  [ 'rest', '', 'GRANT MAINTAIN ON parent TO rest' ], [ 'keepall', 'IN ROLE pg_maintain', '' ];
}

# What the server says of the role: it does, or it refuses (ANALYZE with a warning).
sub may
{
	my ($role, $command) = @_;
	my ($rc, undef, $stderr) = $node->psql('postgres', $command, extra_params => [ '-U', $role ]);
	return $rc == 0 && $stderr !~ /WARNING/ ? 'yes' : 'no';
}

sub held
{
	my ($grants, $role) = @_;
	sql("SELECT maker(); GRANT SELECT, INSERT ON t TO $role; $grants");
	return (may($role, 'REINDEX INDEX by_id'), may($role, 'BEGIN; LOCK TABLE parent IN SHARE MODE; COMMIT'), may($role, 'ANALYZE t'));
}

for my $case (@roles)
{
	my ($role, $attributes, $grants) = @$case;
	sql("CREATE ROLE $role LOGIN $attributes; GRANT pg_read_server_files TO $role");
	my @allowed = held($grants, $role);
	note("$role: REINDEX $allowed[0], LOCK $allowed[1], ANALYZE $allowed[2]");
	sql("SELECT maker(); GRANT SELECT, INSERT ON t TO $role; $grants");
	my ($rc, $id, $stderr) = $node->psql('postgres', "SET client_min_messages = notice; SELECT ml_import('$path', 't', $options)", extra_params => [ '-U', $role ]);
	is($stderr =~ /will not be analyzed/ ? 'no' : 'yes', $allowed[2], "$role: said to be analyzed as ANALYZE allows");
	my $row = wait_import($node, $id);
	is("$row->{status} $row->{success_count}", 'Completed 60', '... the import completes') or diag($row->{error});
	is(sql(q(SELECT relfilenode FROM pg_class WHERE relname = 'by_id')) ne sql(q(SELECT oid FROM pg_class WHERE relname = 'by_id')) ? 'yes' : 'no',
		$allowed[0], '... an index is built anew as REINDEX allows');
	is(sql(q(SELECT bool_and(indisvalid AND indisready) FROM pg_index WHERE indrelid = 't'::regclass)), 't', '... and all are valid');
	is(sql(q(SELECT count(*) = 0 FROM parent WHERE xmax <> 0)) eq 't' ? 'yes' : 'no', $allowed[1], '... the referenced table is locked as LOCK TABLE allows, else its rows are');
	is(sql(q(SELECT coalesce(analyze_count, 0) FROM pg_stat_user_tables WHERE relname = 't')) ? 'yes' : 'no', $allowed[2], '... the table is analyzed as ANALYZE allows');
}

# The owner of the database may analyze, and no more.
sql('CREATE ROLE base LOGIN; GRANT pg_read_server_files TO base; ALTER DATABASE postgres OWNER TO base');
is(join(' ', held('', 'base')), 'no no yes', 'the owner of the database may analyze');
sql('SELECT maker(); GRANT INSERT ON t TO base');
my $id = sql("SELECT ml_import('$path', 't', $options)", 'base');
is(wait_import($node, $id)->{status}, 'Completed', '... its import completes');
is(sql(q(SELECT analyze_count, (SELECT relfilenode = oid FROM pg_class WHERE relname = 'by_id') FROM pg_stat_user_tables WHERE relname = 't')), '1|t', '... analyzes the table, and puts no index off');

# ANALYZE runs functions of indexes as the owner and with the search_path that the server gives it: from 17 on a safe one.
sql(q(SELECT maker(); GRANT INSERT ON t TO keeper;
	CREATE FUNCTION shown(id integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$BEGIN
		IF id = 60 THEN RAISE LOG 'shown to % with search_path %', current_user, current_setting('search_path'); END IF;
		RETURN id;
	END$$;
	CREATE INDEX by_shown ON t (shown(id));
	GRANT USAGE ON SCHEMA public TO keeper; GRANT pg_read_server_files TO keeper));
sub shown
{
	my ($from) = @_;
	my $log = slurp_file($node->logfile, $from);
	return join("\n", $log =~ /LOG:  (shown to .*)/g);
}
my $log = -s $node->logfile;
$id = sql("SET search_path = 'public', 'pg_temp'; SELECT ml_import('$path', 't', $options)", 'keeper');
is(wait_import($node, $id)->{status}, 'Completed', 'an index with a function');
my @import = split(/\n/, shown($log));
is(scalar(@import), 2, '... which is called for a row when it is inserted, and by ANALYZE');
$log = -s $node->logfile;
sql("SET search_path = 'public', 'pg_temp'; INSERT INTO t SELECT 60; DELETE FROM t WHERE name IS NULL; ANALYZE t", 'keeper');
is_deeply(\@import, [ split(/\n/, shown($log)) ], '... as by INSERT and ANALYZE of the owner: the same user, the same search_path') or diag(shown($log));

$node->stop;
done_testing();
