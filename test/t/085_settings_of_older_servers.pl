# pg_upgrade brings interrupted imports along, and with them the settings of the sessions that called them. One that the new
# server does not know (force_parallel_mode ended with 15, escape_string_warning with 18) must not keep an import from its
# end; it is left out, and the log says so. Settings that it knows still reach the processes.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use ImportTest;
use Test::More;

my $node = start_server('main');
$node->safe_psql('postgres', q(CREATE TABLE t (id integer, name text);
	CREATE TABLE seen (id integer, style text);
	CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO seen VALUES (NEW.id, current_setting('IntervalStyle') || ' ' || current_setting('app.note', true)); RETURN NEW; END$$;
	CREATE TRIGGER see BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 7) EXECUTE FUNCTION see()));
add_gate($node, 't', 'NEW.id = 5');
my $gate = close_gate($node);
my $path = write_file('numbers.csv', numbers(20));
my $id = $node->safe_psql('postgres', "SET intervalstyle = iso_8601; SELECT ml_import('$path', 't', chunk_size => 10, min_chunks => 1, max_workers => 1)");
wait_at_gate($node, 1);
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'movielens_ingest leader'");
poll($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'movielens_ingest%'", 'leader and workers end');
$gate->quit;
is($node->safe_psql('postgres', 'SELECT phase FROM ml_progress'), 'interrupted', 'an import is interrupted');

# What an older server has left: the ledger refuses it of anybody by hand, as long as its trigger is there.
$node->safe_psql('postgres', "ALTER TABLE _session_settings DISABLE TRIGGER USER;
	INSERT INTO _session_settings SELECT $id, name, value, context, role FROM (SELECT context, role FROM _session_settings LIMIT 1) s,
		(VALUES ('setting_of_old_servers', 'on'), ('app.note', 'kept')) v (name, value);
	ALTER TABLE _session_settings ENABLE ALWAYS TRIGGER guard_statement, ENABLE ALWAYS TRIGGER guard_row");
my $log = -s $node->logfile;
is($node->safe_psql('postgres', "SELECT ml_resume($id)"), 't', 'it is resumed');
my $row = wait_import($node, $id);
is("$row->{status} $row->{success_count}", 'Completed 20', '... and completes') or diag($row->{error});
$node->wait_for_log(qr/setting "setting_of_old_servers" of the session that called the import is left out/, $log);
is($node->safe_psql('postgres', 'SELECT * FROM seen'), '7|iso_8601 kept', '... with the settings that the server knows, or some library may come to know');

$node->stop;
done_testing();
