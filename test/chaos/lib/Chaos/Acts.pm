# What happens to imports, and to the server that they run in. Each act returns what it has done, or nothing if it came too late or was
# not possible just now; what lasts is undone by calm().
package Chaos::Acts;

use strict;
use warnings;

use Exporter qw(import);
use IPC::Run ();
use Time::HiRes qw(sleep time);

our @EXPORT = qw(random_act calm try_sql run_sql in_background server_answers);

my $deadline = 60;

# --- statements ---

# A statement as the superuser, or as another role: what it returns, or undef where it fails. The server may be down.
sub try_sql
{
	my ($chaos, $sql, $role) = @_;
	my ($out, $err) = ('', '');
	my $done = eval {
		IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $chaos->{node}->connstr($chaos->{database}) . ($role ? " user=$role" : '') ],
			'<', \$sql, '>', \$out, '2>', \$err, IPC::Run::timeout($deadline));
	};
	if (!defined $done)
	{
		die "no answer in $deadline seconds: $sql" if $@ =~ /timeout/;
		die $@ if $@ !~ /Broken pipe/; # psql has ended before it has read the statement
	}
	chomp($out);
	$chaos->{failed}{ ($err =~ /(?:ERROR|FATAL):\s+(.*)/)[0] =~ s/\d+/n/gr // $err }++ if !$done && $err =~ /ERROR|FATAL/;
	return $done ? $out : undef;
}

# The same where nothing disturbs it.
sub run_sql
{
	my ($chaos, $sql, $role) = @_;
	return try_sql($chaos, $sql, $role) // die "failed: $sql\n" . join("\n", keys %{ $chaos->{failed} });
}

# Goes on by itself; what becomes of it does not matter.
sub in_background
{
	my ($chaos, $sql) = @_;
	my %session = (sql => $sql, out => '');
	$session{handle} = IPC::Run::start([ 'psql', '-XAtq', '-d', $chaos->{node}->connstr($chaos->{database}), '-c', $sql ], '<', '/dev/null', '>', \$session{out}, '2>&1');
	push @{ $chaos->{sessions} }, \%session;
	return;
}

sub server_answers
{
	my ($chaos) = @_;
	my $said = '';
	return IPC::Run::run([ 'psql', '-XAtq', '-d', $chaos->{node}->connstr('postgres'), '-c', 'SELECT' ], '<', '/dev/null', '>', \$said, '2>&1', IPC::Run::timeout($deadline));
}

sub wait_until
{
	my ($what, $condition) = @_;
	my $until = time + $deadline;
	until ($condition->())
	{
		die "timed out: $what" if time > $until;
		sleep(0.05);
	}
	return;
}

# --- processes ---

my @kinds_of_process = (('leader') x 4, ('worker') x 4, 'launcher', 'any');

sub pid_of
{
	my ($chaos, $kind) = @_;
	my $where = $kind eq 'any' ? "pid <> pg_backend_pid() AND backend_type <> 'client backend'" : "backend_type LIKE 'movielens_ingest $kind'";
	my @pids = split(/\n/, try_sql($chaos, "SELECT pid FROM pg_stat_activity WHERE $where ORDER BY pid") // '');
	return $pids[ rand @pids ];
}

sub signal_backend
{
	my ($chaos) = @_;
	my $kind = $kinds_of_process[ rand(@kinds_of_process - 1) ];
	my $function = ('cancel', 'terminate')[ rand 2 ];
	my $pid = pid_of($chaos, $kind) // return;
	return (try_sql($chaos, "SELECT pg_${function}_backend($pid)") // '') eq 't' ? "$kind: $function" : ();
}

# The server starts again by itself.
sub kill_backend
{
	my ($chaos) = @_;
	my $kind = $kinds_of_process[ rand @kinds_of_process ];
	my $pid = pid_of($chaos, $kind) // return;
	kill('KILL', $pid) or return;
	$chaos->{crashes}++;
	sleep(rand(0.2));
	wait_until('the server answers after a crash', sub { server_answers($chaos) });
	return "$kind: SIGKILL";
}

sub stop_process
{
	my ($chaos) = @_;
	my $kind = $kinds_of_process[ rand @kinds_of_process ];
	my $pid = pid_of($chaos, $kind) // return;
	kill('STOP', $pid) or return;
	sleep(rand(1.5));
	kill('CONT', $pid);
	return "$kind: SIGSTOP, SIGCONT";
}

# --- the server ---

sub restart
{
	my ($chaos) = @_;
	my $mode = ('immediate', 'fast')[ rand 2 ];
	$chaos->{node}->stop($mode);
	$chaos->{crashes}++ if $mode eq 'immediate';
	if (rand() < 0.3)
	{
		$chaos->{preloaded} = !$chaos->{preloaded};
		$chaos->{node}->append_conf('postgresql.conf', "shared_preload_libraries = '" . ($chaos->{preloaded} ? 'movielens_ingest' : '') . "'");
	}
	$chaos->{node}->start;
	return "server: $mode restart" . ($chaos->{preloaded} ? ', preloaded' : '');
}

# Its processes end by themselves, and only then can it start again.
sub kill_postmaster
{
	my ($chaos) = @_;
	my $node = $chaos->{node};
	my @pids = ($node->{_pid}, split(/\n/, try_sql($chaos, 'SELECT pid FROM pg_stat_activity') // return));
	$node->kill9;
	$chaos->{crashes}++;
	wait_until('the processes of a killed server end', sub { !grep { kill(0, $_) } @pids });
	$node->start;
	return 'postmaster: SIGKILL';
}

sub fill_disk
{
	my ($chaos) = @_;
	my $small = $chaos->{small} // return;
	my $path = "$small/filler";
	open(my $file, '>', $path) or return;
	my $block = 'x' x 65536;
	while (syswrite($file, $block)) { }
	close($file);
	sleep(rand(1.5));
	unlink($path);
	return 'disk: full, and free again';
}

# --- imports ---

sub random_import { my ($chaos) = @_; return $chaos->{imports}[ rand @{ $chaos->{imports} } ] }

sub cancel_import
{
	my ($chaos) = @_;
	my $id = random_import($chaos) // return;
	return (try_sql($chaos, "SELECT $chaos->{ingest}.ml_cancel($id)") // '') eq 't' ? "import $id: ml_cancel" : ();
}

sub resume_import
{
	my ($chaos) = @_;
	my $id = random_import($chaos) // return;
	my $count = 1 + int(rand(4));
	in_background($chaos, "SELECT $chaos->{ingest}.ml_resume($id)") for 1 .. $count;
	return "import $id: ml_resume, $count times";
}

sub wait_for_import
{
	my ($chaos) = @_;
	my $id = random_import($chaos) // return;
	in_background($chaos, "SELECT status FROM $chaos->{ingest}.ml_wait($id, '5 s')");
	return "import $id: ml_wait";
}

# --- tables, schemas, roles ---

sub random_table
{
	my ($chaos) = @_;
	my @tables = map { $_->{table} } map { values %{ $_->{tables} } } @{ $chaos->{targets} };
	return $tables[ rand @tables ];
}

sub lock_table
{
	my ($chaos) = @_;
	my $table = random_table($chaos);
	my $mode = ('ACCESS EXCLUSIVE', 'EXCLUSIVE', 'SHARE', 'SHARE UPDATE EXCLUSIVE')[ rand 4 ];
	in_background($chaos, "SET lock_timeout = '5 s'; BEGIN; LOCK TABLE $table IN $mode MODE; SELECT pg_sleep(random()); " . (rand() < 0.5 ? 'COMMIT' : 'ROLLBACK'));
	return "$table: locked, $mode";
}

sub change_table
{
	my ($chaos) = @_;
	my $table = random_table($chaos);
	my $sql = ("ALTER TABLE $table ADD extra_" . int(rand(1e6)) . ' integer', "VACUUM $table", "ANALYZE $table", "CREATE INDEX CONCURRENTLY ON $table ((1))", "REINDEX TABLE $table", "REINDEX TABLE CONCURRENTLY $table",
		"ALTER TABLE $table SET (fillfactor = 90)")[ rand 7 ];
	in_background($chaos, "SET lock_timeout = '5 s'; $sql");
	return $sql;
}

sub rename_schema
{
	my ($chaos) = @_;
	my $new = $chaos->{ingest} eq 'ingest' ? 'renamed' : 'ingest';
	defined try_sql($chaos, "ALTER SCHEMA $chaos->{ingest} RENAME TO $new") or return;
	$chaos->{ingest} = $new;
	return "schema: renamed to $new";
}

sub rename_role
{
	my ($chaos) = @_;
	my $new = $chaos->{loader} eq 'loader' ? 'freight' : 'loader';
	defined try_sql($chaos, "ALTER ROLE $chaos->{loader} RENAME TO $new") or return;
	$chaos->{loader} = $new;
	return "role: renamed to $new";
}

sub take_rights
{
	my ($chaos) = @_;
	my $table = random_table($chaos);
	my ($take, $give) = @{
		([ "REVOKE INSERT ON $table FROM $chaos->{loader}", "GRANT INSERT ON $table TO $chaos->{loader}" ],
			[ "ALTER ROLE $chaos->{loader} NOLOGIN", "ALTER ROLE $chaos->{loader} LOGIN" ],
			[ "REVOKE pg_read_server_files FROM $chaos->{loader}", "GRANT pg_read_server_files TO $chaos->{loader}" ])[ rand 3 ] };
	defined try_sql($chaos, $take) or return;
	push @{ $chaos->{undo} }, $give;
	sleep(rand(0.5));
	give_rights_back($chaos);
	return $take;
}

sub give_rights_back
{
	my ($chaos) = @_;
	my @left;
	for my $sql (@{ $chaos->{undo} // [] })
	{
		push @left, $sql if !defined try_sql($chaos, $sql);
	}
	$chaos->{undo} = \@left;
	return;
}

my @acts = ((\&signal_backend) x 4, (\&kill_backend) x 2, (\&stop_process) x 2, \&restart, \&kill_postmaster, (\&fill_disk) x 2, (\&cancel_import) x 2, (\&resume_import) x 3, (\&wait_for_import) x 2,
	(\&lock_table) x 2, (\&change_table) x 3, \&rename_schema, \&rename_role, \&take_rights);

sub random_act { my ($chaos) = @_; return $acts[ rand @acts ]->($chaos) }

# Nothing that was done goes on, but the imports.
sub calm
{
	my ($chaos) = @_;
	wait_until('the server answers', sub { server_answers($chaos) });
	give_rights_back($chaos);
	for my $session (@{ $chaos->{sessions} // [] })
	{
		my $until = time + $deadline;
		while ($session->{handle}->pumpable)
		{
			die "a session does not end: $session->{sql}\n$session->{out}" if time > $until;
			$session->{handle}->pump_nb;
			sleep(0.01);
		}
		eval { $session->{handle}->finish };
	}
	$chaos->{sessions} = [];
	return;
}

1;
